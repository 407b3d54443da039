"""Distances to boundaries."""

from functools import partial

import numpy as np
import torch

from cases.case import Array, Case, Pair
from cases.labels import CLASSES, even
from lightning_losses.losses import Boundary


def distances(generator: torch.Generator, size: int) -> Pair:
    """Logits, and signed distances of which the greatest are far greater than the others."""
    input = torch.randn(size, CLASSES, 3, 4, generator=generator, dtype=torch.float64)
    phi = torch.exp(2 * torch.randn(input.shape, generator=generator, dtype=torch.float64))
    inside = torch.randint(0, CLASSES, (size, 1, 3, 4), generator=generator)
    return input, phi.scatter(1, inside, -phi.gather(1, inside))


def boundary(x: Array, phi: Array, w: Array) -> float:
    total = 0.0
    for n, *place in np.ndindex(w.shape):
        pixel = (n, slice(None), *place)
        powers = np.exp(x[pixel])
        total += w[(n, *place)] * sum(
            power / powers.sum() * distance for power, distance in zip(powers, phi[pixel], strict=True)
        )
    return total / w.sum()


def least(phi: Array, w: Array) -> float:
    return sum(w[(n, *place)] * min(phi[(n, slice(None), *place)]) for n, *place in np.ndindex(w.shape)) / w.sum()


CASES = [
    Case(
        "Boundary",
        Boundary,
        distances,
        boundary,
        lambda phi, w: boundary(even(w), phi, w),
        least,
        dims=(0, -1),
    ),
    Case(
        "Boundary-excess",
        partial(Boundary, excess=True),
        distances,
        lambda x, phi, w: boundary(x, phi, w) - least(phi, w),
        lambda phi, w: boundary(even(w), phi, w) - least(phi, w),
        dims=(0, -1),
    ),
]
