"""Quantiles."""

import math
from functools import partial

import numpy as np
import torch

from cases.case import Array, Case, Pair
from cases.numbers import numeric, weighted_mean
from lightning_losses.losses import Quantile, QuantileCrossing

SEVERAL = (0.1, 0.5, 0.75)


def several(generator: torch.Generator, size: int) -> Pair:
    """Quantiles [N, Q, 5], in any order, and truths [N, 5]."""
    input = 3 + torch.randn(size, len(SEVERAL), 5, generator=generator, dtype=torch.float64)
    return input, 3 + torch.randn(size, 5, generator=generator, dtype=torch.float64)


def crossing(generator: torch.Generator, size: int) -> Pair:
    input, _ = several(generator, size)
    return input, torch.zeros_like(input)


def pinball(x: float, y: float, tau: float) -> float:
    return tau * (y - x) if y >= x else (1 - tau) * (x - y)


def empirical(y: Array, tau: float) -> float:
    return np.sort(y, axis=None)[math.ceil(tau * y.size - 1e-6) - 1]


def mean_pinball(x: Array, y: Array, w: Array) -> float:
    return float(np.mean([weighted_mean(partial(pinball, tau=tau), x[:, q], y, w) for q, tau in enumerate(SEVERAL)]))


def constant_pinball(y: Array, w: Array) -> float:
    return mean_pinball(np.stack([np.full_like(y, empirical(y, tau)) for tau in SEVERAL], 1), y, w)


def mean_crossing(x: Array, _: Array, w: Array) -> float:
    total = 0.0
    for n, place in np.ndindex(w.shape):
        low, middle, high = x[n, :, place]
        total += w[n, place] * (max(low - middle, 0) + max(middle - high, 0))
    return total / w.sum()


def one_case(tau: float) -> Case:
    value = partial(weighted_mean, partial(pinball, tau=tau))
    return Case(
        f"Quantile-{tau:g}",
        partial(Quantile, quantiles=tau),
        numeric,
        value,
        lambda y, w: value(np.full_like(y, empirical(y, tau)), y, w),
        dims=(0, -1),
        pooled=False,
        weighs_reference=False,
    )


CASES = [
    one_case(0.5),
    one_case(0.9),
    Case(
        "Quantile-several",
        partial(Quantile, quantiles=SEVERAL),
        several,
        mean_pinball,
        constant_pinball,
        dims=(0, -1),
        pooled=False,
        weighs_reference=False,
    ),
    Case("QuantileCrossing", QuantileCrossing, crossing, mean_crossing, None, dims=(0, -1)),
]
