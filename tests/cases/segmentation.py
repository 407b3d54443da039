"""Overlap of regions."""

from collections.abc import Callable
from functools import partial

import numpy as np

from cases.case import Case
from cases.classification import cross_entropy
from cases.labels import CLASSES, IGNORED, SKEWED, elements, even, labelled
from lightning_losses.losses import Dice, DiceCE, Loss


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
