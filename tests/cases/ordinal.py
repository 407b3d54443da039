"""Ordered classes."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from cases.case import Array, Case, Pair
from cases.labels import IGNORED
from lightning_losses.losses import CORAL, CORN

GRADES = 4


def graded(generator: torch.Generator, size: int, ignore: float = 0.0) -> Pair:
    """A logit per threshold, and grades, a share of them ignored."""
    input = torch.randn(size, GRADES - 1, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(0, GRADES, (size, 5), generator=generator)
    return input, target.masked_fill(torch.rand(size, 5, generator=generator) < ignore, IGNORED)


def answers(x: Array, y: Array, w: Array) -> Iterator[tuple[int, int, float, float]]:
    """(grade, threshold, cross-entropy of the answer to "above it?", weight) of all that is not ignored."""
    for n, k, place in np.ndindex(x.shape):
        grade = y[n, place]
        if grade != IGNORED:
            p = 1 / (1 + math.exp(-x[n, k, place]))
            yield grade, k, -math.log(p if grade > k else 1 - p), w[n, place]


def coral(x: Array, y: Array, w: Array) -> float:
    return sum(weight * value for _, _, value, weight in answers(x, y, w)) / w[y != IGNORED].sum()


def corn(x: Array, y: Array, w: Array) -> float:
    drawn = [(weight, value) for grade, k, value, weight in answers(x, y, w) if grade >= k]
    return sum(weight * value for weight, value in drawn) / sum(weight for weight, _ in drawn)


def ordinal_case(id: str, loss, value, reference: float, ignore: float = 0.0) -> Case:
    return Case(
        id,
        partial(loss, classes=GRADES, ignore_index=IGNORED if ignore else None),
        partial(graded, ignore=ignore),
        value,
        lambda y, w: reference,
        dims=(0, -1),
    )


CASES = [
    ordinal_case("CORAL-plain", CORAL, coral, (GRADES - 1) * math.log(2)),
    ordinal_case("CORAL-ignored", CORAL, coral, (GRADES - 1) * math.log(2), ignore=0.3),
    ordinal_case("CORN-plain", CORN, corn, math.log(2)),
    ordinal_case("CORN-ignored", CORN, corn, math.log(2), ignore=0.3),
]
