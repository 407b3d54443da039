"""Figures of a loss surface. Matplotlib is imported when one is drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTOURS = 25


@dataclass(frozen=True)
class Surface:
    """Losses on a grid around the parameters, which lie at 0.

    Args:
        at: where, along each direction, [N].
        losses: [N, N], a row for each place along the second direction; or [D, N], a line along each.
        names: of the directions.
        path: where the training came from, [points, 2], in the units of `at`; empty if that is not known.
        title: what it is a surface of.
    """

    at: Tensor
    losses: Tensor
    names: tuple[str, str]
    path: Tensor
    title: str
    is_plane: bool

    def save(self, path: Path) -> None:
        """Write the numbers, for `torch.load`."""
        torch.save({"at": self.at, "losses": self.losses, "names": self.names, "path": self.path}, path)

    def figure(self) -> "Figure":
        """Draw it: contours of the logarithm of the loss, or lines."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        axes = figure.add_subplot()
        self._draw_plane(axes, figure) if self.is_plane else self._draw_lines(axes)
        axes.set_title(self.title, fontsize=10)
        return figure

    def _draw_plane(self, axes: "Axes", figure: "Figure") -> None:
        finite = self.losses[self.losses.isfinite()]
        shown = self.losses.masked_fill(~self.losses.isfinite(), float(finite.max()))
        positive = bool((shown > 0).all())
        values = shown.log10() if positive else shown
        contours = axes.contourf(self.at, self.at, values, levels=CONTOURS, cmap="viridis")
        axes.contour(self.at, self.at, values, levels=CONTOURS, colors="white", linewidths=0.3)
        figure.colorbar(contours, label="log10 of the loss" if positive else "loss")
        if len(self.path):
            axes.plot(self.path[:, 0], self.path[:, 1], ".-", color="tab:red", linewidth=1, label="training")
        axes.plot(0, 0, "+", color="red", markersize=12, label="now")
        axes.legend(loc="upper right", fontsize=8)
        axes.set(xlabel=self.names[0], ylabel=self.names[1])

    def _draw_lines(self, axes: "Axes") -> None:
        for name, line in zip(self.names, self.losses, strict=True):
            axes.plot(self.at, line, label=name)
        axes.axvline(0, color="gray", linewidth=0.5)
        axes.legend(fontsize=8)
        axes.set(xlabel="distance", ylabel="loss")
