"""Boxes."""

import torch

from cases.case import Array, Case, Pair
from lightning_losses.losses import GIoU


def boxed(generator: torch.Generator, size: int) -> Pair:
    """Boxes of which about half meet."""
    near = 10 * torch.rand(2, size, 2, generator=generator, dtype=torch.float64)
    far = near + 1 + 10 * torch.rand(2, size, 2, generator=generator, dtype=torch.float64)
    input, target = torch.cat([near, far], -1)
    return input, target


def extreme_boxes(generator: torch.Generator, magnitude: float) -> Pair:
    """Points, lines and squares, equal and not, and inverted predictions, all as large as `magnitude`."""
    m = magnitude
    target = [[0, 0, 0, 0], [m, m, m, m], [0, 0, m, 0], [0, 0, m, m], [-m, -m, m, m]]
    input = [*target, [m, 0, m, m], [m, m, 0, 0], [m, m, -m, 0]]
    pairs = [(i, t) for i in input for t in target]
    boxes = torch.tensor(pairs, dtype=torch.float64)
    return boxes[:, 0], boxes[:, 1]


def giou(x: Array, y: Array, w: Array) -> float:
    def area(box) -> float:
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    total = 0.0
    for a, b, weight in zip(x, y, w, strict=True):
        both = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
        hull = area([min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])])
        union = area(a) + area(b) - both
        total += weight * (1 - (both / union - (hull - union) / hull))
    return total / w.sum()


CASES = [Case("GIoU", GIoU, boxed, giou, lambda y, w: 2.0, ragged=True, extreme=extreme_boxes)]
