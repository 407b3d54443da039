"""The picture: true boxes beside the predicted ones."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from lightning_losses.recipes.segmentation.plot import INK, class_colors

from .decoding import Detections

LEAST_SCORE = 0.4  # of the boxes that are drawn
COLUMNS = 3


class Shown(NamedTuple):
    """An image [C, H, W], its true boxes and labels, and what was found in it; all on the CPU."""

    image: Tensor
    boxes: Tensor
    labels: Tensor
    found: Detections

    @classmethod
    def of(cls, image: Tensor, boxes: Tensor, labels: Tensor, found: Detections) -> "Shown":
        """Without rows that fill up or do not count, and without what was found with little certainty."""
        real, sure = labels >= 0, found.scores >= LEAST_SCORE
        drawn = Detections(*(part[sure].cpu() for part in found))
        return cls(image.cpu(), boxes[real].cpu(), labels[real].cpu(), drawn)


def detection_figure(samples: Sequence[Shown], class_names: Sequence[str]) -> Figure:
    """For each sample the truth and, below, the prediction with its scores, with a legend of the classes."""
    colors = class_colors(len(class_names) + 1)[1:]
    rows = math.ceil(len(samples) / COLUMNS)
    figure = Figure(figsize=(11, 6.2 * rows + 0.5), dpi=110, layout="constrained", facecolor="white")
    axes = figure.subplots(2 * rows, COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, sample in enumerate(samples):
        row, column = divmod(index, COLUMNS)
        above, below = axes[2 * row][column], axes[2 * row + 1][column]
        for axis, title in ((above, "truth"), (below, "prediction")):
            axis.imshow(sample.image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=9, color=INK)
        for box, label in zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True):
            _draw(above, box, colors[label])
        for box, label, score in zip(*(part.tolist() for part in sample.found), strict=True):
            _draw(below, box, colors[label], f"{score:.2f}".lstrip("0"))
    lines = [Line2D([], [], color=color, linewidth=2) for color in colors]
    figure.legend(lines, class_names, loc="outside lower center", ncols=12, frameon=False, fontsize=9)
    return figure


def _draw(axis: Axes, box: Sequence[float], color: Sequence[float], text: str = "") -> None:
    x1, y1, x2, y2 = box
    axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=tuple(color), linewidth=1.5))
    frame = {"facecolor": tuple(color), "pad": 0.5, "linewidth": 0}
    ink = INK if sum(color) > 1.5 else "white"
    axis.text(x1, y1, text, fontsize=6, color=ink, va="bottom", bbox=frame)
