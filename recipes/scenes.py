"""Scenes of handwritten digits: a problem that is drawn, not downloaded.

Real handwritten digits (8x8, scikit-learn's `load_digits`) in random colours, sizes and rotations, partly over each
other, on a gradient with blobs, pen strokes and noise. Strokes have the width and the colours of digits, so colour and
texture tell nothing: only shape does.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .handwriting import handwriting


def draw_digits(rng: np.random.Generator, pool: Tensor, size: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one scene of 2 to 6 digits.

    Args:
        rng: where all randomness comes from.
        pool: the indices of the handwritten digits to choose from.
        size: side length in pixels.

    Returns:
        The image [3, S, S] of uint8; the pixels [K, S, S] of each digit, a later one covering earlier ones; the digits
        [K]; both in the order drawn.
    """
    ink, digit = handwriting()
    image = _background(rng, size)
    chosen = pool[torch.from_numpy(rng.integers(len(pool), size=rng.integers(2, 7)))]
    alphas = ((_placed(rng, ink[chosen], size) - 0.5) * 4 + 0.5).clamp(0, 1)
    for alpha, color in zip(alphas, _colors(rng, len(chosen), 0.55, 1.0), strict=True):
        image.lerp_(color, alpha)
    noise = torch.from_numpy(rng.random((3, size, size), dtype=np.float32))
    image.add_(noise, alpha=rng.uniform(0.05, 0.2))
    if rng.random() < 0.5:  # dark ink on light paper
        image = 1 - image
    return (image.clamp_(0, 1) * 255).to(torch.uint8), alphas[:, 0] > 0.5, digit[chosen]


def _background(rng: np.random.Generator, size: int) -> Tensor:
    """A gradient between two dark colours, dark blobs, and strokes that are as bright as digits."""
    x, y = _coordinates(size)
    start, end = _colors(rng, 2, 0.0, 0.4)
    angle = rng.uniform(0, 2 * math.pi)
    image: Tensor = start.lerp(end, (x * math.cos(angle) + y * math.sin(angle)) / 3 + 0.5)

    blobs = torch.from_numpy(rng.uniform(-1, 1, (3, 2, 1, 1)).astype(np.float32))
    radii = torch.from_numpy(rng.uniform(0.15, 0.5, (3, 1, 1)).astype(np.float32))
    distance = (x - blobs[:, 0]).square() + (y - blobs[:, 1]).square()
    for alpha, color in zip(torch.exp(-distance / radii.square()), _colors(rng, 3, 0.0, 0.5), strict=True):
        image.lerp_(color, alpha)

    strokes = torch.from_numpy(rng.uniform(-1.1, 1.1, (int(rng.integers(1, 4)), 4, 1, 1)).astype(np.float32))
    alphas = (1 + (0.045 - _distance_to_segment(x, y, strokes)) * size / 2).clamp(0, 1)
    for alpha, color in zip(alphas, _colors(rng, len(strokes), 0.55, 1.0), strict=True):
        image.lerp_(color, alpha)
    return image


@cache
def _coordinates(size: int) -> tuple[Tensor, Tensor]:
    """(x, y) of each pixel, from -1 to 1."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    return x.contiguous(), y.contiguous()


def _placed(rng: np.random.Generator, ink: Tensor, size: int) -> Tensor:
    """Each digit in its own cell of a 3x3 grid, shaken, at its own size and rotation: [K, 1, S, S]."""
    count = len(ink)
    scale = rng.uniform(0.35, 0.6, count)
    angle = rng.uniform(-0.4, 0.4, count)
    cells = rng.permutation(9)[:count]
    center = 0.55 * (np.stack([cells % 3, cells // 3], axis=1) - 1) + rng.uniform(-0.2, 0.2, (count, 2))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    inverse = rotation / scale[:, None, None]
    theta = torch.from_numpy(np.concatenate([inverse, -inverse @ center[:, :, None]], axis=2).astype(np.float32))
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    return F.grid_sample(ink, grid, align_corners=False)


def _distance_to_segment(x: Tensor, y: Tensor, ends: Tensor) -> Tensor:
    """[M, S, S] from each point to each of M segments, given as (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = ends.unbind(1)
    dx, dy = x1 - x0, y1 - y0
    along = (((x - x0) * dx + (y - y0) * dy) / (dx.square() + dy.square())).clamp(0, 1)
    return torch.hypot(x - x0 - along * dx, y - y0 - along * dy)


def _colors(rng: np.random.Generator, count: int, low: float, high: float) -> Tensor:
    """Random colours, [count, 3, 1, 1]."""
    return torch.from_numpy(rng.uniform(low, high, (count, 3, 1, 1)).astype(np.float32))
