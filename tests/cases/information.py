"""What a prediction says of a latent code."""

import math
from functools import partial

import numpy as np
import torch

from cases.case import Array, Case, Pair
from cases.labels import CLASSES, elements, labelled
from lightning_losses.losses import GaussianNLL, MutualInformation


def lost_information(x: Array, y: Array, w: Array) -> float:
    return sum(weight * -math.log(p[k]) for p, k, weight in elements(x, y, w)) / w.sum()


def gaussians(generator: torch.Generator, size: int) -> Pair:
    """Means and spreads, and truths."""
    input = 3 + torch.randn(size, 2, 4, generator=generator, dtype=torch.float64)
    return input, 3 + torch.randn(size, 4, generator=generator, dtype=torch.float64)


def nll(y: float, mean: float, std: float) -> float:
    density = math.exp(-((y - mean) ** 2) / (2 * std**2)) / math.sqrt(2 * math.pi * std**2)
    return -math.log(density)


def gaussian_case(min_std: float) -> Case:
    def value(x: Array, y: Array, w: Array) -> float:
        values = [
            w[n, i] * nll(y[n, i], x[n, 0, i], min_std + math.log(1 + math.exp(x[n, 1, i])))
            for n, i in np.ndindex(w.shape)
        ]
        return sum(values) / w.sum()

    return Case(
        f"GaussianNLL-{min_std:g}",
        partial(GaussianNLL, min_std=min_std),
        gaussians,
        value,
        lambda y, w: float(np.mean([nll(v, y.mean(), max(min_std, y.std())) for v in y.flat])),
        lower=lambda y, w: nll(0.0, 0.0, min_std),
        dims=(0, -1),
        pooled=False,
        weighs_reference=False,
    )


CASES = [
    Case(
        "MutualInformation", MutualInformation, labelled, lost_information, lambda y, w: math.log(CLASSES), dims=(0, -1)
    ),
    gaussian_case(0.3),
    gaussian_case(1.0),
]
