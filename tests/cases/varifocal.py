"""Varifocal loss."""

import math
from functools import partial

import torch

from cases.case import Array, Case, Pair
from cases.labels import CLASSES
from cases.numbers import weighted_mean
from lightning_losses.losses import Varifocal


def qualities(generator: torch.Generator, size: int) -> Pair:
    """Logits, and qualities of which half are 0."""
    input = torch.randn(size, CLASSES, generator=generator, dtype=torch.float64)
    quality = torch.rand(input.shape, generator=generator, dtype=torch.float64)
    return input, quality * (torch.rand(input.shape, generator=generator) < 0.5)


def varifocal(x: float, q: float, alpha: float, gamma: float) -> float:
    p = 1 / (1 + math.exp(-x))
    if q > 0:
        return -q * (q * math.log(p) + (1 - q) * math.log(1 - p))
    return -alpha * p**gamma * math.log(1 - p)


def varifocal_case(alpha: float, gamma: float) -> Case:
    def reference(y: Array, w: Array) -> float:
        return weighted_mean(lambda _, q: varifocal(0.0, q, alpha, gamma), y, y, w)

    def entropy(_: float, q: float) -> float:
        return varifocal(math.log(q / (1 - q)), q, alpha, gamma) if q > 0 else 0.0

    return Case(
        f"Varifocal-gamma{gamma:g}-alpha{alpha:g}",
        partial(Varifocal, gamma=gamma, alpha=alpha),
        qualities,
        partial(weighted_mean, partial(varifocal, gamma=gamma, alpha=alpha)),
        reference,
        lambda y, w: weighted_mean(entropy, y, y, w),
        dims=(0, -1),
    )


CASES = [varifocal_case(0.75, 2.0), varifocal_case(0.5, 0.5), varifocal_case(1.0, 0.0)]
