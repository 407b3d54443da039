"""Margins."""

from functools import partial

import numpy as np

from cases.case import Array, Case
from cases.labels import CLASSES, IGNORED, labelled
from cases.numbers import binary, weighted_mean
from lightning_losses.losses import Hinge, MultiMargin, SquaredHinge


def hinge(x: float, t: float) -> float:
    return max(0.0, 1 - x if t else 1 + x)


def multi_margin(x: Array, y: Array, w: Array, margin: float = 1.0, power: int = 1) -> float:
    total = count = 0.0
    for n, *place in np.ndindex(w.shape):
        label, scores, weight = y[(n, *place)], x[(n, slice(None), *place)], w[(n, *place)]
        if label != IGNORED:
            others = [scores[c] for c in range(CLASSES) if c != label]
            total += weight * sum(max(0.0, margin - scores[label] + score) ** power for score in others) / CLASSES
            count += weight
    return total / count


def multi_margin_case(id: str, margin: float, power: int, ignore: float = 0.0) -> Case:
    return Case(
        f"MultiMargin-{id}",
        partial(MultiMargin, margin=margin, power=power, ignore_index=IGNORED if ignore else None),
        partial(labelled, ignore=ignore),
        partial(multi_margin, margin=margin, power=power),
        lambda y, w: margin**power * (1 - 1 / CLASSES),
        dims=(0, -1),
    )


CASES = [
    Case("Hinge", Hinge, binary, partial(weighted_mean, hinge), lambda y, w: 1.0, dims=(0, -1)),
    Case(
        "SquaredHinge",
        SquaredHinge,
        binary,
        partial(weighted_mean, lambda x, t: hinge(x, t) ** 2),
        lambda y, w: 1.0,
        dims=(0, -1),
    ),
    multi_margin_case("linear", 1.0, 1),
    multi_margin_case("squared", 0.5, 2, ignore=0.3),
]
