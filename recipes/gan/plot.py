"""Pictures: grids of samples, and samples beside real images with their classes."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchvision.utils import make_grid

from lightning_losses.recipes.segmentation.plot import INK

REAL, FAKE = "#7a8793", "#2a6fb0"
COLUMNS = 8
ENLARGED = 2
DPI = 120


def sample_grid(image: Tensor) -> NDArray[np.uint8]:
    """Images [N, C, S, S] of uint8 as one picture [H, W, 3], eight in a row, at twice their size."""
    picture = make_grid(image.cpu(), nrow=COLUMNS, padding=1, pad_value=255).to(torch.uint8)
    picture = picture.repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)
    pixels: NDArray[np.uint8] = picture.permute(1, 2, 0).numpy()
    return pixels


def grid_figure(image: Tensor) -> Figure:
    """`sample_grid` as a figure, pixel by pixel."""
    pixels = sample_grid(image)
    figure = Figure(figsize=(pixels.shape[1] / DPI, pixels.shape[0] / DPI), dpi=DPI)
    figure.figimage(pixels)
    return figure


def quality_figure(real: Tensor, fake: Tensor, counts: Tensor, values: Mapping[str, float]) -> Figure:
    """Real images, samples, and how often each class occurs among either.

    Args:
        real: images [N, C, S, S] of uint8.
        fake: samples, likewise.
        counts: how many there are of each class, real ones and samples, [2, C].
        values: metrics by name, for the title.
    """
    figure = Figure(figsize=(14, 5), dpi=DPI, layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 0.8])
    for axis, title, images in ((left, "real", real), (middle, "generated", fake)):
        axis.imshow(sample_grid(images), interpolation="nearest")
        axis.set_title(title, fontsize=11, color=INK)
        axis.set_axis_off()
    shares = (counts / counts.sum(1, keepdim=True)).cpu().numpy()
    places = np.arange(counts.shape[1])
    right.bar(places - 0.2, shares[0], width=0.38, color=REAL, label="real")
    right.bar(places + 0.2, shares[1], width=0.38, color=FAKE, label="generated")
    right.set_title("share of each class", fontsize=11, color=INK)
    right.set_xticks(places)
    right.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, fontsize=9)
    text = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    figure.suptitle(text, fontsize=11, color=INK)
    return figure
