"""The table that the tests of losses run on: one row per loss and variant.

To add a loss, add a row: how to make it, how to make its inputs, what it is worth by an independent computation (numpy
in float64, by loops over elements), and where it stands between knowing everything and knowing nothing.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_losses.losses import (
    MSE,
    BCEWithLogits,
    CrossEntropy,
    Dice,
    DiceCE,
    GIoU,
    Loss,
    SigmoidFocal,
    SmoothL1,
    SoftmaxFocal,
)

Array = NDArray[np.float64]
Pair = tuple[Tensor, Tensor]
CLASSES = 3
IGNORED = 255


@dataclass(frozen=True)
class Case:
    """A row.

    Args:
        id: the loss and its variant.
        loss: makes the loss; takes `reduction` unless the loss has none.
        inputs: from (generator, number of samples) to (input, target), both in float64 unless integer.
        value: the mean, from (input, target, weight of each element).
        reference: what the uninformed predictor scores, from (target, weight).
        lower: the least value there is, from (target, weight).
        dims: dimensions along which elements can be deleted, repeated and permuted.
        elementwise: whether an element's value does not depend on the other elements.
        pooled: whether statistics of parts of a batch add up to those of the batch.
        ragged: whether ranks may have different numbers of elements.
        extreme: from (generator, magnitude) to inputs as large as that.
    """

    id: str
    loss: Callable[..., Loss]
    inputs: Callable[[torch.Generator, int], Pair]
    value: Callable[[Array, Array, Array], float]
    reference: Callable[[Array, Array], float]
    lower: Callable[[Array, Array], float] = lambda y, w: 0.0
    dims: tuple[int, ...] = (0,)
    elementwise: bool = True
    pooled: bool = True
    ragged: bool = False
    extreme: Callable[[torch.Generator, float], Pair] | None = None

    def extremes(self, generator: torch.Generator, magnitude: float) -> Pair:
        """Inputs of random signs and the given magnitude."""
        if self.extreme is not None:
            return self.extreme(generator, magnitude)
        input, target = self.inputs(generator, 2)
        signs = torch.randint(0, 2, input.shape, generator=generator) * 2 - 1
        return (signs * magnitude).to(input.dtype), target

    def elements(self, target: Tensor) -> tuple[int, ...]:
        """The shape of the weights and masks of the elements."""
        axis = self.loss().element_axis(target)
        return tuple(target.shape if axis is None else target.select(axis, 0).shape)

    @property
    def has_reduction(self) -> bool:
        """Whether the loss can be had as a sum and per element."""
        return not isinstance(self.loss(), DiceCE)

    @property
    def ignore_index(self) -> int | None:
        """The label that the loss ignores."""
        return getattr(self.loss(), "ignore_index", None)


# Inputs


def labelled(generator: torch.Generator, size: int, shape: tuple[int, ...] = (5,), ignore: float = 0.0) -> Pair:
    """Logits and class labels, a share of them ignored."""
    input = torch.randn(size, CLASSES, *shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, (size, *shape), generator=generator)
    ignored = torch.rand(size, *shape, generator=generator) < ignore
    return input, target.masked_fill(ignored, IGNORED)


def distributed(generator: torch.Generator, size: int) -> Pair:
    """Logits and distributions over the classes, some of them certain."""
    input, labels = labelled(generator, size)
    target = torch.rand(input.shape, generator=generator, dtype=torch.float64).softmax(1)
    certain = torch.zeros_like(input).scatter(1, labels.unsqueeze(1), 1.0)
    return input, torch.where((labels == 0).unsqueeze(1), certain, target)


def binary(generator: torch.Generator, size: int) -> Pair:
    """Logits and labels 0 or 1."""
    input = torch.randn(size, CLASSES, generator=generator, dtype=torch.float64)
    return input, torch.randint(0, 2, input.shape, generator=generator)


def probable(generator: torch.Generator, size: int) -> Pair:
    """Logits and probabilities, some of them 0 or 1."""
    input, target = binary(generator, size)
    soft = torch.rand(input.shape, generator=generator, dtype=torch.float64)
    return input, torch.where(soft < 0.5, soft, target)


def numeric(generator: torch.Generator, size: int) -> Pair:
    """Predictions and truths of a regression, far from 0."""
    input = 3 + torch.randn(size, 4, generator=generator, dtype=torch.float64)
    return input, 3 + torch.randn(size, 4, generator=generator, dtype=torch.float64)


def boxed(generator: torch.Generator, size: int) -> Pair:
    """Boxes of which about half meet."""
    near = 10 * torch.rand(2, size, 2, generator=generator, dtype=torch.float64)
    far = near + 1 + 10 * torch.rand(2, size, 2, generator=generator, dtype=torch.float64)
    input, target = torch.cat([near, far], -1)
    return input, target


def extreme_boxes(generator: torch.Generator, magnitude: float) -> Pair:
    """Points, lines and squares, equal and not, and inverted predictions, all as large as `magnitude`."""
    m = magnitude
    target = [[0, 0, 0, 0], [m, m, m, m], [0, 0, m, 0], [0, 0, m, m], [-m, -m, m, m]]
    input = [*target, [m, 0, m, m], [m, m, 0, 0], [m, m, -m, 0]]
    pairs = [(i, t) for i in input for t in target]
    boxes = torch.tensor(pairs, dtype=torch.float64)
    return boxes[:, 0], boxes[:, 1]


# Values, by loops


def elements(x: Array, y: Array, w: Array) -> Iterator[tuple[Array, NDArray[np.float64] | np.int64, float]]:
    """(probabilities of the classes, label or distribution, weight) of each element that is not ignored."""
    for n, *place in np.ndindex(w.shape):
        label = y[(n, *place)] if y.shape == w.shape else y[(n, slice(None), *place)]
        if np.ndim(label) or label != IGNORED:
            powers = np.exp(x[(n, slice(None), *place)])
            yield powers / powers.sum(), label, w[(n, *place)]


def even(w: Array) -> Array:
    """Equal logits for elements of the shape of `w`."""
    return np.zeros((len(w), CLASSES, *w.shape[1:]))


def smoothed(label: Array | np.int64, smoothing: float) -> Array:
    """The target distribution."""
    t = label if np.ndim(label) else np.eye(CLASSES)[label]
    return (1 - smoothing) * t + smoothing / CLASSES


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


def softmax_focal(x, y, w, gamma, alpha=(1, 1, 1)) -> float:
    drawn = [(weight, -alpha[k] * (1 - p[k]) ** gamma * math.log(p[k])) for p, k, weight in elements(x, y, w)]
    return sum(weight * value for weight, value in drawn) / sum(weight for weight, _ in drawn)


def even_softmax_focal(y, w, gamma, alpha=(1, 1, 1)) -> float:
    drawn = [(weight, alpha[k]) for _, k, weight in elements(even(w), y, w)]
    mean_alpha = sum(weight * a for weight, a in drawn) / sum(weight for weight, _ in drawn)
    return mean_alpha * (1 - 1 / CLASSES) ** gamma * math.log(CLASSES)


def weighted_mean(formula: Callable[[float, float], float], x: Array, y: Array, w: Array) -> float:
    return sum(wi * formula(xi, yi) for xi, yi, wi in zip(x.flat, y.flat, w.flat, strict=True)) / w.sum()


def bce(x: float, t: float, pos_weight: float = 1.0) -> float:
    p = 1 / (1 + math.exp(-x))
    return -pos_weight * t * math.log(p) - (1 - t) * math.log(1 - p)


def least_bce(t: float, pos_weight: float = 1.0) -> float:
    a, b = pos_weight * t, 1 - t
    return sum(-v * math.log(v / (a + b)) for v in (a, b) if v)


def sigmoid_focal(x: float, t: float, alpha: float | None, gamma: float) -> float:
    p = 1 / (1 + math.exp(-x))
    p_t, a_t = (p, alpha) if t else (1 - p, 1 - alpha if alpha is not None else None)
    return -(1 if a_t is None else a_t) * (1 - p_t) ** gamma * math.log(p_t)


def smooth_l1(x: float, y: float, beta: float) -> float:
    e = abs(x - y)
    return e * e / (2 * beta) if e < beta else e - beta / 2


def dice(x, y, w, smoothing=0.0, class_weight=(1, 1, 1), first=0, per_image=False, absent=False) -> float:
    groups = [slice(n, n + 1) for n in range(len(x))] if per_image else [slice(None)]
    total = count = 0.0
    for group in groups:
        drawn = list(elements(x[group], y[group], w[group]))
        for c in range(first, CLASSES):
            true = sum(weight for _, k, weight in drawn if k == c)
            both = sum(weight * p[c] for p, k, weight in drawn if k == c)
            predicted = sum(weight * p[c] for p, _, weight in drawn)
            if true or absent:
                total += class_weight[c] * (1 - (2 * both + smoothing) / (predicted + true + smoothing))
                count += class_weight[c]
    return total / count


def even_dice(y, w, **options) -> float:
    return dice(even(w), y, w, **options)


def balanced_dice(y, w, first=0) -> float:
    """The mean over present classes of 1 - 2 pi / (1 + C pi), pi being a class's share of the pixels."""
    kept = y != IGNORED
    shares = [w[kept & (y == c)].sum() / w[kept].sum() for c in range(first, CLASSES)]
    return float(np.mean([1 - 2 * share / (1 + CLASSES * share) for share in shares if share]))


def dice_ce(x, y, w, dice_weight=1.0, ce_weight=1.0, class_weight=(1, 1, 1), **options) -> float:
    both = dice(x, y, w, class_weight=class_weight, **options), cross_entropy(x, y, w, class_weight=class_weight)
    return dice_weight * both[0] + ce_weight * both[1]


def even_dice_ce(y, w, **options) -> float:
    return dice_ce(even(w), y, w, **options)


def giou(x: Array, y: Array, w: Array) -> float:
    def area(box) -> float:
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    total = 0.0
    for a, b, weight in zip(x, y, w, strict=True):
        both = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
        hull = area([min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])])
        union = area(a) + area(b) - both
        total += weight * (1 - (both / union - (hull - union) / hull))
    return total / w.sum()


# Rows of each loss


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


def softmax_focal_case(gamma: float, id: str = "", inputs=labelled, ignore_index=None, **options) -> Case:
    return Case(
        f"SoftmaxFocal-gamma{gamma:g}{id}",
        partial(SoftmaxFocal, gamma=gamma, ignore_index=ignore_index, **options),
        inputs,
        partial(softmax_focal, gamma=gamma, **options),
        partial(even_softmax_focal, gamma=gamma, **options),
        dims=(0, -1),
    )


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
    )


def overlap_case(id: str, loss: Callable[..., Loss], value, reference, ignore: float = 0.0, **flags) -> Case:
    return Case(
        id,
        partial(loss, ignore_index=IGNORED) if ignore else loss,
        partial(labelled, shape=(3, 4), ignore=ignore),
        value,
        reference,
        elementwise=False,
        **{"dims": (0, -1), **flags},
    )


SKEWED = (0.5, 1.0, 3.0)

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
    bce_case("plain"),
    bce_case("pos_weight", pos_weight=3.0),
    bce_case("probabilities", probable),
    bce_case("probabilities-pos_weight", probable, pos_weight=3.0),
    *(sigmoid_focal_case(gamma) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)),
    sigmoid_focal_case(2.0, alpha=None),
    *(softmax_focal_case(gamma) for gamma in (0.0, 0.5, 1.0, 2.0, 5.0)),
    softmax_focal_case(1.5, "-alpha", alpha=SKEWED),
    softmax_focal_case(2.0, "-ignored", partial(labelled, ignore=0.3), IGNORED),
    Case(
        "MSE",
        MSE,
        numeric,
        partial(weighted_mean, lambda x, y: (x - y) ** 2),
        lambda y, w: float(np.average((y - np.average(y, weights=w)) ** 2, weights=w)),
        dims=(0, -1),
    ),
    *(smooth_l1_case(beta) for beta in (0.0, 0.3, 1.0)),
    Case("GIoU", GIoU, boxed, giou, lambda y, w: 2.0, ragged=True, extreme=extreme_boxes),
    overlap_case("Dice-plain", Dice, dice, balanced_dice),
    overlap_case("Dice-ignored", Dice, dice, balanced_dice, ignore=0.3),
    overlap_case(
        "Dice-foreground",
        partial(Dice, include_background=False),
        partial(dice, first=1),
        partial(balanced_dice, first=1),
    ),
    overlap_case(
        "Dice-weighted",
        partial(Dice, class_weight=SKEWED, include_background=False),
        partial(dice, class_weight=SKEWED, first=1),
        partial(even_dice, class_weight=SKEWED, first=1),
    ),
    overlap_case(
        "Dice-smoothed",
        partial(Dice, smoothing=2.0, score_absent=True),
        partial(dice, smoothing=2.0, absent=True),
        partial(even_dice, smoothing=2.0, absent=True),
    ),
    overlap_case(
        "Dice-per-image",
        partial(Dice, per_image=True),
        partial(dice, per_image=True),
        partial(even_dice, per_image=True),
        ignore=0.3,
        dims=(-1,),
    ),
    overlap_case("DiceCE-plain", DiceCE, dice_ce, even_dice_ce, pooled=False),
    overlap_case(
        "DiceCE-everything",
        partial(DiceCE, dice_weight=0.5, ce_weight=2.0, class_weight=SKEWED, smoothing=1.0),
        partial(dice_ce, dice_weight=0.5, ce_weight=2.0, class_weight=SKEWED, smoothing=1.0),
        partial(even_dice_ce, dice_weight=0.5, ce_weight=2.0, class_weight=SKEWED, smoothing=1.0),
        ignore=0.3,
        pooled=False,
    ),
    overlap_case(
        "DiceCE-per-image",
        partial(DiceCE, per_image=True),
        partial(dice_ce, per_image=True),
        partial(even_dice_ce, per_image=True),
        dims=(-1,),
        pooled=False,
    ),
]
