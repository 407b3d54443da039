"""The figure of the edge of stability: lambda_max over 2 / lr along full-batch gradient descent."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from _stability import Look

FOLLOWED, EXACT, BAND, UNIT = "#2563eb", "#111827", "#bfdbfe", "#dc2626"


def draw(runs: Sequence[tuple[str, Sequence[Look]]], path: Path) -> None:
    """One panel a run: what was followed with its residual as a band, and dots for the exact eigenvalue."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = plt.subplots(1, len(runs), figsize=(13, 4.4), layout="constrained", sharey=True)
    for panel, (title, looks) in zip(panels, runs, strict=True):
        steps, values = [look.step for look in looks], [look.value for look in looks]
        low, high = ([look.value + sign * look.residual for look in looks] for sign in (-1, 1))
        panel.axhline(1.0, color=UNIT, linewidth=1, label="2 / lr")
        panel.fill_between(steps, low, high, color=BAND, linewidth=0, label="± residual")
        panel.plot(steps, values, color=FOLLOWED, linewidth=1.5, label="followed: 3 products a look, every 10 steps")
        exact = [look for look in looks if not math.isnan(look.exact)][::4]
        panel.plot(
            [look.step for look in exact],
            [look.exact for look in exact],
            linestyle="",
            marker="o",
            markersize=2.5,
            color=EXACT,
            label="exact, every 200 steps",
        )
        panel.set_title(title, loc="left", fontweight="bold", fontsize=11)
        panel.set_xlabel("step of gradient descent")
        panel.set_ylim(0, 1.5)
        panel.grid(axis="y", color="#f3f4f6")
        panel.margins(x=0.01)
    panels[0].set_ylabel("lambda_max / (2 / lr)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=130)
