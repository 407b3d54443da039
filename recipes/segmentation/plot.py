"""The picture: image, truth and prediction side by side."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

INK = "#333333"
IGNORED = (0.5, 0.5, 0.5)


def class_colors(count: int) -> NDArray[np.float64]:
    """RGB of `count` classes, [count, 3]: near-black for the background, hues all around the circle for the rest.

    >>> class_colors(2)[0].tolist()
    [0.1, 0.1, 0.12]
    """
    steps = np.arange(count - 1)
    hues = (0.55 + steps / (count - 1)) % 1
    saturations, values = np.where(steps % 2, 0.75, 0.5), np.where(steps % 2, 0.8, 1.0)
    colors = hsv_to_rgb(np.stack([hues, saturations, values], axis=1))
    return np.concatenate([[[0.1, 0.1, 0.12]], colors])


def prediction_figure(samples: Sequence[tuple[Tensor, Tensor, Tensor]], class_names: Sequence[str]) -> Figure:
    """One row per sample: image | truth | prediction, with a legend of the classes.

    Args:
        samples: (image [C, H, W] of uint8 or in 0..1, truth [H, W], prediction [H, W]).
        class_names: a name per class; labels beyond them are drawn grey.
    """
    colors = class_colors(len(class_names))
    rows = math.ceil(len(samples) / 2)
    figure = Figure(figsize=(11, 1.8 * rows + 0.9), dpi=130, layout="constrained", facecolor="white")
    halves = figure.subfigures(1, 2, wspace=0.04, squeeze=False)[0]
    for half, shown in zip(halves, (samples[:rows], samples[rows:]), strict=True):
        axes = half.subplots(rows, 3, squeeze=False)
        for axis, title in zip(axes[0], ("image", "truth", "prediction"), strict=True):
            axis.set_title(title, fontsize=11, color=INK)
        for axis in axes.flat:
            axis.set_axis_off()
        for row, (image, truth, prediction) in zip(axes, shown, strict=False):
            pictures = _rgb(image), _painted(truth, colors), _painted(prediction, colors)
            for axis, picture in zip(row, pictures, strict=True):
                axis.imshow(picture, interpolation="nearest")
    swatches = [Patch(facecolor=color, edgecolor=INK, linewidth=0.5) for color in colors]
    figure.legend(swatches, class_names, loc="outside lower center", ncols=12, frameon=False, fontsize=9)
    return figure


def _rgb(image: Tensor) -> NDArray[np.float64]:
    """Height x width x 3 in 0..1; an image of another number of channels is shown by its first."""
    channels = image.float() if image.is_floating_point() else image / 255
    if len(channels) != 3:
        channels = channels[:1].expand(3, -1, -1)
    picture: NDArray[np.float64] = channels.clamp(0, 1).permute(1, 2, 0).double().numpy()
    return picture


def _painted(labels: Tensor, colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height x width x 3, each label in its colour."""
    palette = np.concatenate([colors, [IGNORED]])
    known = (labels >= 0) & (labels < len(colors))
    picture: NDArray[np.float64] = palette[labels.where(known, len(colors)).numpy()]
    return picture
