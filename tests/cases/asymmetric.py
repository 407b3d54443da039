"""The asymmetric loss."""

import math
from functools import partial

import numpy as np

from cases.case import Case
from cases.numbers import binary, weighted_mean
from lightning_losses.losses import Asymmetric


def asymmetric(
    x: float, t: float, gamma_positive: float = 0.0, gamma_negative: float = 4.0, clip: float = 0.05
) -> float:
    p = 1 / (1 + math.exp(-x))
    if t:
        return -((1 - p) ** gamma_positive) * math.log(p)
    shifted = max(p - clip, 0.0)
    return -(shifted**gamma_negative) * math.log(1 - shifted)


def asymmetric_case(id: str, **options) -> Case:
    value = partial(weighted_mean, partial(asymmetric, **options))
    return Case(
        f"Asymmetric-{id}",
        partial(Asymmetric, **options),
        binary,
        value,
        lambda y, w: value(np.zeros_like(w), y, w),
        dims=(0, -1),
    )


CASES = [
    asymmetric_case("plain"),
    asymmetric_case("unclipped", gamma_positive=1.0, clip=0.0),
    asymmetric_case("steep", gamma_positive=0.5, gamma_negative=0.5, clip=0.2),
    asymmetric_case("unfocused", gamma_negative=0.0),
]
