"""Figures, to a file and to every logger."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lightning_losses.callbacks.every_n_steps import step_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def log_figure(trainer: Trainer, name: str, figure: "Figure", path: Path) -> None:
    """Write a figure to a PNG and hand it, under the step of now, to the Trainer's loggers; to be called on one rank.

    - W&B: an image called `name`;
    - TensorBoard: likewise;
    - MLflow: the artifact ``figures/<name>/step<n>.png``;
    - CSVLogger: that file, beside its ``metrics.csv``.

    Other loggers have no figures.

    Args:
        trainer: whose loggers get it.
        name: the same in every run, such as ``test/predictions``.
        figure: a matplotlib figure.
        path: of the PNG; a file that is there is replaced.
    """
    step = step_of(trainer)
    kept = f"figures/{name}/step{step}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure, step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_figure(logger.run_id, figure, kept)
        elif isinstance(logger, CSVLogger):
            copy = Path(logger.log_dir, kept)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
