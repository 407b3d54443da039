"""Cross-entropies of softmax and of sigmoid."""

import math
from functools import partial

import numpy as np
import torch

from cases.case import Case, Pair
from cases.labels import CLASSES, IGNORED, SKEWED, elements, even, labelled, smoothed
from cases.numbers import binary, weighted_mean
from lightning_losses.losses import BCEWithLogits, CrossEntropy


def distributed(generator: torch.Generator, size: int) -> Pair:
    """Logits and distributions over the classes, some of them certain."""
    input, labels = labelled(generator, size)
    target = torch.rand(input.shape, generator=generator, dtype=torch.float64).softmax(1)
    certain = torch.zeros_like(input).scatter(1, labels.unsqueeze(1), 1.0)
    return input, torch.where((labels == 0).unsqueeze(1), certain, target)


def probable(generator: torch.Generator, size: int) -> Pair:
    """Logits and probabilities, some of them 0 or 1."""
    input, target = binary(generator, size)
    soft = torch.rand(input.shape, generator=generator, dtype=torch.float64)
    return input, torch.where(soft < 0.5, soft, target)


def cross_entropy(x, y, w, smoothing=0.0, class_weight=(1, 1, 1)) -> float:
    total = count = 0.0
    for p, label, weight in elements(x, y, w):
        total += weight * sum(
            -c * q * math.log(pc) for c, q, pc in zip(class_weight, smoothed(label, smoothing), p, strict=True)
        )
        count += weight * smoothed(label, 0.0) @ np.array(class_weight)
    return total / count


def least_cross_entropy(y, w, smoothing=0.0, class_weight=(1, 1, 1)) -> float:
    """The entropy of what the weights make of the target."""
    total = count = 0.0
    for _, label, weight in elements(even(w), y, w):
        t = smoothed(label, smoothing) * class_weight
        total += weight * sum(-tc * math.log(tc / t.sum()) for tc in t if tc)
        count += weight * smoothed(label, 0.0) @ np.array(class_weight)
    return total / count


def even_cross_entropy(y, w, smoothing=0.0, class_weight=(1, 1, 1)) -> float:
    """log C ((1 - s) + s mean_c w_c / mean_i w_{y_i})."""
    drawn = [(weight, smoothed(t, 0.0) @ class_weight) for _, t, weight in elements(even(w), y, w)]
    mean = sum(weight * of_label for weight, of_label in drawn) / sum(weight for weight, _ in drawn)
    return math.log(CLASSES) * ((1 - smoothing) + smoothing * np.mean(class_weight) / mean)


def bce(x: float, t: float, pos_weight: float = 1.0) -> float:
    p = 1 / (1 + math.exp(-x))
    return -pos_weight * t * math.log(p) - (1 - t) * math.log(1 - p)


def least_bce(t: float, pos_weight: float = 1.0) -> float:
    a, b = pos_weight * t, 1 - t
    return sum(-v * math.log(v / (a + b)) for v in (a, b) if v)


def normalized_cross_entropy_case() -> Case:
    return Case(
        "CrossEntropy-normalized",
        partial(CrossEntropy, normalize=True),
        labelled,
        lambda x, y, w: cross_entropy(x, y, w) / math.log(CLASSES),
        lambda y, w: 1.0,
        dims=(0, -1),
    )


def cross_entropy_case(id: str, inputs=labelled, ignore_index=None, dims=(0, -1), **options) -> Case:
    ours = {"label_smoothing": options.get("smoothing", 0.0), "class_weight": options.get("class_weight")}
    return Case(
        f"CrossEntropy-{id}",
        partial(CrossEntropy, ignore_index=ignore_index, **ours),
        inputs,
        partial(cross_entropy, **options),
        partial(even_cross_entropy, **options),
        partial(least_cross_entropy, **options),
        dims=dims,
    )


def bce_case(id: str, inputs=binary, pos_weight: float = 1.0) -> Case:
    return Case(
        f"BCEWithLogits-{id}",
        partial(BCEWithLogits, pos_weight=None if pos_weight == 1 else pos_weight),
        inputs,
        partial(weighted_mean, partial(bce, pos_weight=pos_weight)),
        lambda y, w: float(np.sum(w * (1 + (pos_weight - 1) * y)) / w.sum()) * math.log(2),
        lambda y, w: weighted_mean(lambda _, t: least_bce(t, pos_weight), y, y, w),
        dims=(0, -1),
    )


CASES = [
    cross_entropy_case("plain"),
    cross_entropy_case("smoothed", smoothing=0.1),
    cross_entropy_case("weighted", class_weight=SKEWED),
    cross_entropy_case("one-class-weightless", class_weight=(0.0, 1.0, 2.0)),
    cross_entropy_case("ignored", partial(labelled, ignore=0.3), IGNORED),
    cross_entropy_case("everything", partial(labelled, ignore=0.3), IGNORED, smoothing=0.2, class_weight=SKEWED),
    cross_entropy_case("no-pixels", partial(labelled, shape=()), dims=(0,), smoothing=0.1),
    cross_entropy_case("distributions", distributed),
    cross_entropy_case("distributions-everything", distributed, smoothing=0.1, class_weight=SKEWED),
    normalized_cross_entropy_case(),
    bce_case("plain"),
    bce_case("pos_weight", pos_weight=3.0),
    bce_case("probabilities", probable),
    bce_case("probabilities-pos_weight", probable, pos_weight=3.0),
]
