"""The figure of the toy problem: how each task's loss falls, and the weights that brought it there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from _toy import EVALUATE_EVERY, Run
from matplotlib.axes import Axes
from torch import Tensor

STYLES = {
    "equal weights": ("#6b7280", "-"),
    "oracle: 1 / scale^2": ("#111827", (0, (1, 1.5))),
    "ours: GradNorm, last shared layer": ("#2563eb", "-"),
    "ours: GradNorm, features": ("#0891b2", "-"),
    "ours: Uncertainty": ("#7c3aed", "-"),
    "LibMTL: GradNorm": ("#ea580c", "--"),
    "gradnorm-pytorch": ("#dc2626", "--"),
}


def draw(runs: Mapping[str, Sequence[Run]], sigmas: Sequence[float], path: Path) -> None:
    """One panel a task and one for the weight of the large task; medians of the seeds, which are the thin lines."""
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    for name, of_method in runs.items():
        ratios = torch.stack([run.ratios for run in of_method])
        weights = torch.stack([run.weights / run.weights.sum(1, keepdim=True) for run in of_method]) * len(sigmas)
        for task in range(2):
            _curve(axes[task], EVALUATE_EVERY, ratios[..., task], name)
        _curve(axes[2], 1, weights[..., 1], name)
    for task in range(2):
        axes[task].axhline(1.0, color="#d1d5db", linewidth=1, zorder=0)
        axes[task].set_title(f"Task of scale {sigmas[task]:g}", loc="left", fontweight="bold", fontsize=11)
        axes[task].set_ylabel("held-out loss / loss at the start")
    axes[0].set_ylim(0.6, 1.25)
    axes[1].set_ylim(0.85, 1.01)
    axes[2].set_yscale("log")
    axes[2].set_ylim(1e-4, 4)
    axes[2].set_title(
        f"Weight of the task of scale {sigmas[1]:g} (of {len(sigmas)})", loc="left", fontweight="bold", fontsize=11
    )
    for panel in axes:
        panel.set_xlabel("training step")
        panel.grid(axis="y", color="#f3f4f6")
        panel.margins(x=0.01)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=130)


def _curve(axes: Axes, every: int, values: Tensor, name: str) -> None:
    color, line = STYLES[name]
    steps = every * torch.arange(values.shape[1])
    axes.plot(steps, values.median(0).values, color=color, linestyle=line, linewidth=2, label=name)
    axes.plot(steps, values.T, color=color, linewidth=0.7, alpha=0.35, zorder=1)
