"""Overlap of regions."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from cases.case import Array, Case
from cases.classification import cross_entropy
from cases.labels import CLASSES, IGNORED, SKEWED, elements, even, labelled
from lightning_losses.losses import Dice, DiceCE, GeneralizedDice, Loss


def class_sums(x, y, w, first=0, per_image=False) -> Iterator[list[tuple[int, float, float, float]]]:
    """For the batch or each image: (class, probability given where it is true, given anywhere, true weight)."""
    groups = [slice(n, n + 1) for n in range(len(x))] if per_image else [slice(None)]
    for group in groups:
        drawn = list(elements(x[group], y[group], w[group]))
        sums = []
        for c in range(first, CLASSES):
            both = sum(weight * p[c] for p, k, weight in drawn if k == c)
            predicted = sum(weight * p[c] for p, _, weight in drawn)
            sums.append((c, both, predicted, sum(weight for _, k, weight in drawn if k == c)))
        yield sums


def dice(x, y, w, smoothing=0.0, class_weight=(1, 1, 1), absent=False, **groups) -> float:
    total = count = 0.0
    for sums in class_sums(x, y, w, **groups):
        for c, both, predicted, true in sums:
            if true or absent:
                total += class_weight[c] * (1 - (2 * both + smoothing) / (predicted + true + smoothing))
                count += class_weight[c]
    return total / count


def generalized_dice(x, y, w, smoothing=0.0, class_weight=(1, 1, 1), absent=False, **groups) -> float:
    values = []
    for sums in class_sums(x, y, w, **groups):
        scored = [(class_weight[c] / (t + smoothing) ** 2, i, p, t) for c, i, p, t in sums if t or absent]
        if scored:
            values.append(1 - 2 * sum(v * i for v, i, _, _ in scored) / sum(v * (p + t) for v, _, p, t in scored))
    return float(np.mean(values))


def balanced_dice(y, w, first=0) -> float:
    """The mean over present classes of 1 - 2 pi / (1 + C pi), pi being a class's share of the pixels."""
    kept = y != IGNORED
    shares = [w[kept & (y == c)].sum() / w[kept].sum() for c in range(first, CLASSES)]
    return float(np.mean([1 - 2 * share / (1 + CLASSES * share) for share in shares if share]))


def dice_ce(x, y, w, dice_weight=1.0, ce_weight=1.0, class_weight=(1, 1, 1), **options) -> float:
    both = dice(x, y, w, class_weight=class_weight, **options), cross_entropy(x, y, w, class_weight=class_weight)
    return dice_weight * both[0] + ce_weight * both[1]


def at_even_odds(value: Callable[..., float], **options) -> Callable[[Array, Array], float]:
    return lambda y, w: value(even(w), y, w, **options)


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


CASES = [
    overlap_case("Dice-plain", Dice, dice, balanced_dice),
    replace(overlap_case("Dice-no-pixels", Dice, dice, balanced_dice), inputs=partial(labelled, shape=()), dims=(0,)),
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
        at_even_odds(dice, class_weight=SKEWED, first=1),
    ),
    overlap_case(
        "Dice-smoothed",
        partial(Dice, smoothing=2.0, score_absent=True),
        partial(dice, smoothing=2.0, absent=True),
        at_even_odds(dice, smoothing=2.0, absent=True),
    ),
    overlap_case(
        "Dice-per-image",
        partial(Dice, per_image=True),
        partial(dice, per_image=True),
        at_even_odds(dice, per_image=True),
        ignore=0.3,
        dims=(-1,),
    ),
    overlap_case("GeneralizedDice-plain", GeneralizedDice, generalized_dice, at_even_odds(generalized_dice)),
    overlap_case(
        "GeneralizedDice-everything",
        partial(GeneralizedDice, class_weight=SKEWED, include_background=False, smoothing=2.0, score_absent=True),
        partial(generalized_dice, class_weight=SKEWED, first=1, smoothing=2.0, absent=True),
        at_even_odds(generalized_dice, class_weight=SKEWED, first=1, smoothing=2.0, absent=True),
        ignore=0.3,
    ),
    overlap_case(
        "GeneralizedDice-per-image",
        partial(GeneralizedDice, per_image=True),
        partial(generalized_dice, per_image=True),
        at_even_odds(generalized_dice, per_image=True),
        ignore=0.3,
        dims=(-1,),
    ),
    overlap_case("DiceCE-plain", DiceCE, dice_ce, at_even_odds(dice_ce), pooled=False),
    overlap_case(
        "DiceCE-everything",
        partial(DiceCE, dice_weight=0.5, ce_weight=2.0, class_weight=SKEWED, smoothing=1.0),
        partial(dice_ce, dice_weight=0.5, ce_weight=2.0, class_weight=SKEWED, smoothing=1.0),
        at_even_odds(dice_ce, dice_weight=0.5, ce_weight=2.0, class_weight=SKEWED, smoothing=1.0),
        ignore=0.3,
        pooled=False,
    ),
    overlap_case(
        "DiceCE-fused",
        partial(DiceCE, class_weight=SKEWED, fused=True),
        partial(dice_ce, class_weight=SKEWED),
        at_even_odds(dice_ce, class_weight=SKEWED),
        ignore=0.3,
        pooled=False,
        twice=False,
    ),
    overlap_case(
        "DiceCE-per-image",
        partial(DiceCE, per_image=True),
        partial(dice_ce, per_image=True),
        at_even_odds(dice_ce, per_image=True),
        dims=(-1,),
        pooled=False,
    ),
]
