"""The accuracy matrix: a row for each task that has ended, from what validation has logged."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from lightning_losses.callbacks.continual.figure import matrix_figure
from lightning_losses.callbacks.continual.metrics import Row
from lightning_losses.callbacks.figures import log_figure
from lightning_losses.callbacks.tables import log_table
from lightning_losses.checks import nearest
from lightning_losses.replacing import replacing

CSV, PNG = "tasks.csv", "tasks.png"


def row_of(metrics: Mapping[str, Any], metric: str, tasks: int) -> list[float]:
    """What was logged for each task's loader.

    Raises:
        ValueError: the model has not logged it for all of them.
    """
    names = [metric] if tasks == 1 else [f"{metric}/dataloader_idx_{task}" for task in range(tasks)]
    for name in names:
        if name not in metrics:
            raise ValueError(
                f"`metric` must be what the model logs for every task's loader, found {metric!r}, and {name!r} was not "
                f"logged. {nearest(metric, {key.partition('/dataloader_idx_')[0] for key in metrics})}"
            )
    return [float(metrics[name]) for name in names]


def write(trainer: Trainer, folder: Path, matrix: Sequence[Row], tasks: int, metric: str) -> None:
    """The matrix as CSV and as a picture, each whole or not at all; the loggers get both."""
    columns = ["after task", *(f"task {task + 1}" for task in range(tasks))]
    rows = [[i + 1, *row] for i, row in enumerate(matrix)]
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CSV) as part, part.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    log_table(trainer, "continual/matrix", columns, rows)
    if not any(math.isnan(value) for row in matrix for value in row):
        log_figure(trainer, "continual/tasks", matrix_figure(matrix, tasks, metric), folder / PNG)
