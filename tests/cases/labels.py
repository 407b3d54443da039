"""Inputs with class labels, and walks over their elements."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cases.case import Array, Pair

CLASSES = 3
IGNORED = 255
SKEWED = (0.5, 1.0, 3.0)


def labelled(generator: torch.Generator, size: int, shape: tuple[int, ...] = (5,), ignore: float = 0.0) -> Pair:
    """Logits and class labels, a share of them ignored."""
    input = torch.randn(size, CLASSES, *shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, (size, *shape), generator=generator)
    ignored = torch.rand(size, *shape, generator=generator) < ignore
    return input, target.masked_fill(ignored, IGNORED)


def elements(x: Array, y: Array, w: Array) -> Iterator[tuple[Array, NDArray[np.float64] | np.int64, float]]:
    """(probabilities of the classes, label or distribution, weight) of each element that is not ignored."""
    for n, *place in np.ndindex(w.shape):
        label = y[(n, *place)] if y.shape == w.shape else y[(n, slice(None), *place)]
        if np.ndim(label) or label != IGNORED:
            powers = np.exp(x[(n, slice(None), *place)])
            yield powers / powers.sum(), label, w[(n, *place)]


def even(w: Array) -> Array:
    """Equal logits for elements of the shape of `w`."""
    return np.zeros((len(w), CLASSES, *w.shape[1:]))


def smoothed(label: Array | np.int64, smoothing: float) -> Array:
    """The target distribution."""
    t = label if np.ndim(label) else np.eye(CLASSES)[label]
    return (1 - smoothing) * t + smoothing / CLASSES
