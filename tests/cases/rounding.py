"""Roundings."""

import math
from collections.abc import Callable
from functools import partial

import torch

from cases.case import Case, Pair
from cases.numbers import numeric, weighted_mean
from lightning_losses.losses import Rounding, RoundingDecision

SCALE = 0.5


def quarters(generator: torch.Generator, magnitude: float) -> Pair:
    """Weights on the grid, halfway between two points and between those, which float32 can tell apart."""
    signs, steps = (
        torch.randint(0, 2, (2, 4), generator=generator) * 2 - 1,
        torch.randint(0, 4, (2, 4), generator=generator),
    )
    input = signs * (magnitude + SCALE / 4 * steps.double())
    return input, input


def undecided(generator: torch.Generator, size: int) -> Pair:
    """Roundings."""
    input = torch.rand(size, 4, generator=generator, dtype=torch.float64)
    return input, input


def from_grid(x: float) -> float:
    """How far from the nearest point of the grid, in steps."""
    return min(abs(x / SCALE - k) for k in range(math.floor(x / SCALE), math.floor(x / SCALE) + 2))


def rounding_case(shape: str, formula: Callable[[float], float], reference: float) -> Case:
    return Case(
        f"Rounding-{shape}",
        partial(Rounding, shape=shape, scale=SCALE),
        numeric,
        partial(weighted_mean, lambda x, _: formula(x)),
        lambda y, w: reference,
        dims=(0, -1),
        extreme=quarters,
    )


CASES = [
    rounding_case("absolute", from_grid, 1 / 4),
    rounding_case("square", lambda x: from_grid(x) ** 2, 1 / 12),
    rounding_case("sine", lambda x: math.sin(math.pi * x / SCALE) ** 2, 1 / 2),
    *(
        Case(
            f"RoundingDecision-beta{beta:g}",
            partial(RoundingDecision, beta=beta),
            undecided,
            partial(weighted_mean, lambda x, _, beta=beta: 1 - abs(2 * x - 1) ** beta),
            lambda y, w, beta=beta: beta / (beta + 1),
            dims=(0, -1),
            inside=lambda h: h.clamp(0, 1),
        )
        for beta in (2.0, 5.0)
    ),
]
