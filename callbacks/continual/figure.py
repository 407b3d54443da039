"""Pictures of an accuracy matrix. Matplotlib is imported when one is drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_losses.callbacks.continual.metrics import Row, average_accuracy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANNOTATED = 12  # tasks up to which every cell has its number


def matrix_figure(matrix: Sequence[Row], tasks: int, metric: str) -> "Figure":
    """The matrix as a heat map, and beside it a curve for each task.

    Args:
        matrix: a row for each task that has ended.
        tasks: how many there are in all.
        metric: what was measured, for the title.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_heat_map(left, figure, matrix, tasks)
    _draw_curves(right, matrix)
    figure.suptitle(f"{metric} after {len(matrix)} of {tasks} tasks: {average_accuracy(matrix):.3f} on average")
    return figure


def _draw_heat_map(axes: "Axes", figure: "Figure", matrix: Sequence[Row], tasks: int) -> None:
    rows = [list(row) for row in matrix] + [[float("nan")] * tasks for _ in range(tasks - len(matrix))]
    image = axes.imshow(rows, vmin=0, vmax=1, cmap="viridis")
    figure.colorbar(image, ax=axes, shrink=0.8)
    if tasks <= ANNOTATED:
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="k" if value > 0.5 else "w", fontsize=8)
    names = [str(task + 1) for task in range(tasks)]
    axes.set(xlabel="measured on task", ylabel="after task", xticks=range(tasks), yticks=range(tasks))
    axes.set_xticklabels(names)
    axes.set_yticklabels(names)


def _draw_curves(axes: "Axes", matrix: Sequence[Row]) -> None:
    from matplotlib.ticker import MaxNLocator

    for task in range(len(matrix)):
        after = range(task, len(matrix))
        axes.plot([i + 1 for i in after], [matrix[i][task] for i in after], "o-", markersize=4, linewidth=1)
        axes.annotate(
            str(task + 1), (task + 1, matrix[task][task]), textcoords="offset points", xytext=(0, 5), fontsize=8
        )
    means = [average_accuracy(matrix[: i + 1]) for i in range(len(matrix))]
    axes.plot(range(1, len(matrix) + 1), means, "k--", linewidth=2, label="average of the tasks so far")
    axes.set(xlabel="after task", ylabel="each task, from when it was learnt", ylim=(0, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left")
