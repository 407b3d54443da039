"""Focal losses."""

import math
from functools import partial

import numpy as np

from cases.case import Array, Case
from cases.labels import CLASSES, IGNORED, SKEWED, elements, even, labelled
from cases.numbers import binary, weighted_mean
from lightning_losses.losses import SigmoidFocal, SoftmaxFocal


def softmax_focal(x, y, w, gamma, alpha=(1, 1, 1)) -> float:
    drawn = [(weight, -alpha[k] * (1 - p[k]) ** gamma * math.log(p[k])) for p, k, weight in elements(x, y, w)]
    return sum(weight * value for weight, value in drawn) / sum(weight for weight, _ in drawn)


def even_softmax_focal(y, w, gamma, alpha=(1, 1, 1)) -> float:
    drawn = [(weight, alpha[k]) for _, k, weight in elements(even(w), y, w)]
    mean_alpha = sum(weight * a for weight, a in drawn) / sum(weight for weight, _ in drawn)
    return mean_alpha * (1 - 1 / CLASSES) ** gamma * math.log(CLASSES)


def sigmoid_focal(x: float, t: float, alpha: float | None, gamma: float) -> float:
    p = 1 / (1 + math.exp(-x))
    p_t, a_t = (p, alpha) if t else (1 - p, 1 - alpha if alpha is not None else None)
    return -(1 if a_t is None else a_t) * (1 - p_t) ** gamma * math.log(p_t)


def sigmoid_focal_case(gamma: float, alpha: float | None = 0.25) -> Case:
    def reference(y: Array, w: Array) -> float:
        a_t = np.ones_like(w) if alpha is None else np.where(y == 1, alpha, 1 - alpha)
        return float((w * a_t).sum() / w.sum()) * 2**-gamma * math.log(2)

    return Case(
        f"SigmoidFocal-gamma{gamma:g}-alpha{alpha}",
        partial(SigmoidFocal, gamma=gamma, alpha=alpha),
        binary,
        partial(weighted_mean, partial(sigmoid_focal, gamma=gamma, alpha=alpha)),
        reference,
        dims=(0, -1),
    )


def per_class_sigmoid_focal_case(id: str = "alphas", **options) -> Case:
    alphas = (0.1, 0.5, 1.0)

    def value(x: Array, y: Array, w: Array) -> float:
        places = np.ndindex(w.shape)
        return sum(w[place] * sigmoid_focal(x[place], y[place], alphas[place[1]], 2.0) for place in places) / w.sum()

    return Case(
        f"SigmoidFocal-{id}",
        partial(SigmoidFocal, alpha=alphas, **options),
        binary,
        value,
        lambda y, w: value(np.zeros_like(w), y, w),
        twice=not options,
    )


def softmax_focal_case(gamma: float, id: str = "", inputs=labelled, ignore_index=None, **options) -> Case:
    return Case(
        f"SoftmaxFocal-gamma{gamma:g}{id}",
        partial(SoftmaxFocal, gamma=gamma, ignore_index=ignore_index, **options),
        inputs,
        partial(softmax_focal, gamma=gamma, **options),
        partial(even_softmax_focal, gamma=gamma, **options),
        dims=(0, -1),
    )


CASES = [
    *(sigmoid_focal_case(gamma) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)),
    sigmoid_focal_case(2.0, alpha=None),
    per_class_sigmoid_focal_case(),
    per_class_sigmoid_focal_case("alphas-fused", fused=True),
    *(softmax_focal_case(gamma) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)),
    softmax_focal_case(1.5, "-alpha", alpha=SKEWED),
    softmax_focal_case(2.0, "-ignored", partial(labelled, ignore=0.3), IGNORED),
]
