"""Regression."""

from functools import partial

import numpy as np

from cases.case import Case
from cases.numbers import numeric, weighted_mean
from lightning_losses.losses import MSE, SmoothL1


def smooth_l1(x: float, y: float, beta: float) -> float:
    e = abs(x - y)
    return e * e / (2 * beta) if e < beta else e - beta / 2


def smooth_l1_case(beta: float) -> Case:
    value = partial(weighted_mean, partial(smooth_l1, beta=beta))
    return Case(
        f"SmoothL1-beta{beta:g}",
        partial(SmoothL1, beta=beta),
        numeric,
        value,
        lambda y, w: value(np.full_like(y, np.sort(y, axis=None)[(y.size - 1) // 2]), y, w),
        dims=(0, -1),
        pooled=False,
        weighs_reference=False,
    )


CASES = [
    Case(
        "MSE",
        MSE,
        numeric,
        partial(weighted_mean, lambda x, y: (x - y) ** 2),
        lambda y, w: float(np.average((y - np.average(y, weights=w)) ** 2, weights=w)),
        dims=(0, -1),
    ),
    *(smooth_l1_case(beta) for beta in (0.0, 0.3, 1.0)),
]
