"""Inputs of plain numbers, and means over their elements."""

from collections.abc import Callable

import torch

from cases.case import Array, Pair
from cases.labels import CLASSES


def binary(generator: torch.Generator, size: int) -> Pair:
    """Logits and labels 0 or 1."""
    input = torch.randn(size, CLASSES, generator=generator, dtype=torch.float64)
    return input, torch.randint(0, 2, input.shape, generator=generator)


def numeric(generator: torch.Generator, size: int) -> Pair:
    """Predictions and truths of a regression, far from 0."""
    input = 3 + torch.randn(size, 4, generator=generator, dtype=torch.float64)
    return input, 3 + torch.randn(size, 4, generator=generator, dtype=torch.float64)


def weighted_mean(formula: Callable[[float, float], float], x: Array, y: Array, w: Array) -> float:
    return sum(wi * formula(xi, yi) for xi, yi, wi in zip(x.flat, y.flat, w.flat, strict=True)) / w.sum()
