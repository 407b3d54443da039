"""Where a dense detector looks: the centres of the cells of its pyramid's levels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Locations(NamedTuple):
    """A locations in pixels of the image, those of all levels one after the other.

    Args:
        point: (x, y), [A, 2].
        stride: pixels between neighbours, [A].
        smallest: a location finds no object whose farthest side is nearer than this, [A].
        largest: nor one whose farthest side is farther, [A].
    """

    point: Tensor
    stride: Tensor
    smallest: Tensor
    largest: Tensor


def locations(
    sizes: Sequence[tuple[int, int]], strides: Sequence[int], limits: Sequence[float], device: torch.device
) -> Locations:
    """The locations of levels of these sizes.

    Args:
        sizes: (height, width) of each level.
        strides: pixels of the image in a cell, of each level.
        limits: between each two levels, how far a box may reach from its location: one fewer than levels.
        device: where they are made.

    >>> grid = locations([(1, 2), (1, 1)], strides=[8, 16], limits=[32.0], device=torch.device("cpu"))
    >>> grid.point.tolist()
    [[4.0, 4.0], [12.0, 4.0], [8.0, 8.0]]
    >>> grid.largest.tolist()
    [32.0, 32.0, inf]
    """
    ranges = zip([0.0, *limits], [*limits, float("inf")], strict=True)
    levels = []
    for (height, width), stride, (smallest, largest) in zip(sizes, strides, ranges, strict=True):
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        point = (torch.stack([x, y], -1).flatten(0, 1) + 0.5) * stride
        of_level = (torch.full_like(point[:, 0], value) for value in (stride, smallest, largest))
        levels.append((point, *of_level))
    return Locations(*(torch.cat(parts) for parts in zip(*levels, strict=True)))
