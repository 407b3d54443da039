"""Gradient penalties, as functions of the gradients. Where these come from is tested in `test_gradient_penalty.py`."""

import math
from functools import partial

import torch

from cases.case import Array, Case, Pair
from lightning_losses.losses import R1, GradientPenalty, UnaryLoss


class GradientsPenalty(GradientPenalty):
    """Called with gradients [N, D]."""

    forward = UnaryLoss.forward


class GradientsR1(R1):
    """Called with gradients [N, D]."""

    forward = UnaryLoss.forward


def gradients(generator: torch.Generator, size: int, scale: float = 1.0) -> Pair:
    """Gradients of samples, and nothing to compare them with."""
    input = scale * torch.randn(size, 5, generator=generator, dtype=torch.float64)
    return input, torch.zeros_like(input)


def penalty(x: Array, y: Array, w: Array, target: float = 1.0) -> float:
    values = [
        weight * (math.sqrt(sum(g * g for g in sample)) - target) ** 2 for sample, weight in zip(x, w, strict=True)
    ]
    return sum(values) / w.sum()


def half_square(x: Array, y: Array, w: Array) -> float:
    return sum(weight * 0.5 * sum(g * g for g in sample) for sample, weight in zip(x, w, strict=True)) / w.sum()


CASES = [
    Case("GradientPenalty", GradientsPenalty, gradients, penalty, lambda y, w: 1.0),
    Case(
        "GradientPenalty-target3",
        partial(GradientsPenalty, target=3.0),
        partial(gradients, scale=4.0),  # an ascent from shorter ones ends at 0
        partial(penalty, target=3.0),
        lambda y, w: 9.0,
    ),
    Case("R1", GradientsR1, gradients, half_square, None),
]
