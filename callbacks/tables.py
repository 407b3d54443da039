"""Tables, to every logger."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lightning_losses.callbacks.every_n_steps import step_of
from lightning_losses.replacing import replacing

Row = Sequence[str | float]


def log_table(trainer: Trainer, name: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Hand a table, under the step of now, to the Trainer's loggers; to be called on one rank.

    - W&B: a table called `name`;
    - TensorBoard: a text, written in Markdown;
    - MLflow: the artifact ``tables/<name>/step<n>.csv``;
    - CSVLogger: that file, beside its ``metrics.csv``.

    Other loggers have no tables.

    Args:
        trainer: whose loggers get it.
        name: the same in every run, such as ``test/confusion``.
        columns: their names.
        rows: of each the values, as many as there are columns.

    Raises:
        ValueError: a row has another number of values.
    """
    for index, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(f"`rows` must have {len(columns)} values each, found {len(row)} in row {index}.")
    step = step_of(trainer)
    kept = f"tables/{name}/step{step}.csv"
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(name, list(columns), [list(row) for row in rows], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(name, _markdown(columns, rows), step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_text(logger.run_id, _csv(columns, rows), kept)
        elif isinstance(logger, CSVLogger):
            file = Path(logger.log_dir, kept)
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as part:
                part.write_text(_csv(columns, rows), encoding="utf-8", newline="")


def _csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue()


def _markdown(columns: Sequence[str], rows: Sequence[Row]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
