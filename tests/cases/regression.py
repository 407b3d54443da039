"""Regression."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from cases.case import Array, Case
from cases.numbers import numeric, weighted_mean
from lightning_losses.losses import MAE, MSE, BerHu, Huber, LogCosh, Loss, SmoothL1


def smooth_l1(x: float, y: float, beta: float) -> float:
    e = abs(x - y)
    return e * e / (2 * beta) if e < beta else e - beta / 2


def huber(x: float, y: float, delta: float) -> float:
    e = abs(x - y)
    return e * e / 2 if e <= delta else delta * (e - delta / 2)


def berhu(x: float, y: float, c: float) -> float:
    e = abs(x - y)
    return e if e <= c else (e * e + c * c) / (2 * c)


def berhu_of_batch(x: Array, y: Array, w: Array) -> float:
    c = 0.2 * max(abs(xi - yi) for xi, yi, wi in zip(x.flat, y.flat, w.flat, strict=True) if wi)
    return weighted_mean(partial(berhu, c=c), x, y, w)


def residual_case(
    id: str, loss: Callable[..., Loss], formula: Callable[[float, float], float], inputs=numeric, value=None, **flags
) -> Case:
    """A loss whose best constant is taken to be the lower median of the targets."""
    value = value or partial(weighted_mean, formula)
    return Case(
        id,
        loss,
        inputs,
        value,
        lambda y, w: value(np.full_like(y, np.sort(y, axis=None)[(y.size - 1) // 2]), y, w),
        dims=(0, -1),
        pooled=False,
        weighs_reference=False,
        **flags,
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
    residual_case("MAE", MAE, lambda x, y: abs(x - y)),
    *(
        residual_case(f"SmoothL1-beta{beta:g}", partial(SmoothL1, beta=beta), partial(smooth_l1, beta=beta))
        for beta in (0.0, 0.3, 1.0)
    ),
    *(
        residual_case(f"Huber-delta{delta:g}", partial(Huber, delta=delta), partial(huber, delta=delta))
        for delta in (0.3, 2.0)
    ),
    residual_case("LogCosh", LogCosh, lambda x, y: math.log(math.cosh(x - y))),
    residual_case("BerHu-fixed", partial(BerHu, threshold=0.5), partial(berhu, c=0.5)),
    residual_case("BerHu-of-batch", BerHu, berhu, value=berhu_of_batch, elementwise=False, frozen=True),
]
