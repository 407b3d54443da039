"""What is drawn of a loss, and how: value and gradient along one line through its inputs."""

import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import torch
from torch import Tensor

from lightning_losses.losses import Loss

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

POINTS = 101
LIMITS = {"reference": "--", "lower": ":"}
COLORS = ("#2563eb", "#ea580c", "#059669")
STYLE = {
    "svg.hashsalt": "lightning-losses",  # the same bytes in every run
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],  # the others would be repeated in each text
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


class Curve(NamedTuple):
    """A loss along a line.

    Args:
        loss: the loss.
        value: its value at a place, a 0-d tensor, on the line.
        batch: the arguments from which its bounds are known; None if they are known without.
    """

    loss: Loss
    value: Callable[[Tensor], Tensor]
    batch: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Plot:
    """A figure.

    Args:
        x: what the line is.
        span: its ends.
        curves: by label; the label of a single one is not shown.
        note: of what data the bounds are, or what else is fixed.
    """

    x: str
    span: tuple[float, float]
    curves: Mapping[str, Curve] = field(repr=False)
    note: str = ""


def along(loss: Any, arguments: Callable[[Tensor], tuple[Any, ...]], batch: tuple[Any, ...] | None = None) -> Curve:
    """The curve of a loss called with the arguments at each place; the bounds are those of the middle or of `batch`."""
    return Curve(loss, lambda x: loss(*arguments(x)).sum(), arguments(torch.tensor(0.5)) if batch is None else batch)


def draw(plot: Plot, path: Path) -> None:
    """Write the figure."""
    with plt.rc_context(STYLE):
        figure, (values, gradients) = plt.subplots(1, 2, figsize=(7.2, 2.5), layout="constrained")
        for color, (label, curve) in zip(COLORS, plot.curves.items(), strict=False):
            _draw_curve(values, gradients, curve, plot.span, color, label)
        for axes, title in ((values, "value"), (gradients, "gradient")):
            axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
            axes.margins(x=0)
            axes.locator_params(nbins=5)
        gradients.axhline(0, color="lightgrey", linewidth=1, zorder=0)
        figure.supxlabel(plot.x, fontsize=9)
        figure.legend(handles=_handles(values), loc="outside right center", frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        plt.close(figure)
    path.write_text(re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text.getvalue()))


def trace(curve: Curve, span: tuple[float, float], points: int = POINTS) -> tuple[Tensor, Tensor, Tensor]:
    """Places, values and gradients."""
    places = torch.linspace(*span, points, dtype=torch.float64).round(decimals=9)  # 0 is 0
    pairs = []
    for place in places:
        x = place.clone().requires_grad_()
        value = curve.value(x)
        pairs.append((value.detach(), torch.autograd.grad(value, x)[0]))
    values, gradients = (torch.stack(column) for column in zip(*pairs, strict=True))
    return places, values, gradients


def _draw_curve(values: Axes, gradients: Axes, curve: Curve, span: tuple[float, float], color: str, label: str) -> None:
    places, y, slopes = trace(curve, span)
    values.plot(places, y, color=color, label=label)
    gradients.plot(places, slopes, color=color)
    statistics = None if curve.batch is None else curve.loss.statistics(*curve.batch)
    bounds = curve.loss.bounds(statistics)
    for name, limit in (("lower", bounds.lower), ("reference", bounds.reference)):
        if limit is not None and math.isfinite(limit):
            values.axhline(float(limit), color=color, linestyle=LIMITS[name], linewidth=1, gid=name)


def _handles(axes: Axes) -> list[Line2D]:
    """The legend: what is labelled, and the limits that are drawn."""
    curves = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    drawn = {line.get_gid() for line in axes.get_lines()}
    styles = [(name, style) for name, style in LIMITS.items() if name in drawn]
    return curves + [Line2D([], [], color="grey", linewidth=1, linestyle=style, label=name) for name, style in styles]
