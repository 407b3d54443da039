"""Overlap of regions in which two kinds of mistakes cost differently."""

from functools import partial

from cases.labels import SKEWED
from cases.segmentation import at_even_odds, class_sums, overlap_case
from lightning_losses.losses import FocalTversky, Tversky


def tversky(x, y, w, alpha=0.3, beta=0.7, smoothing=0.0, class_weight=(1, 1, 1), power=1.0, **groups) -> float:
    total = count = 0.0
    for sums in class_sums(x, y, w, **groups):
        for c, both, predicted, true in sums:
            if true:
                wrong = alpha * (predicted - both) + beta * (true - both)
                total += class_weight[c] * (1 - (both + smoothing) / (both + wrong + smoothing)) ** power
                count += class_weight[c]
    return total / count


BOTH = {"alpha": 0.2, "beta": 1.5, "class_weight": SKEWED}
focal = partial(tversky, power=0.75)

CASES = [
    overlap_case("Tversky-plain", Tversky, tversky, at_even_odds(tversky)),
    overlap_case(
        "Tversky-everything",
        partial(Tversky, **BOTH, smoothing=0.5, include_background=False),
        partial(tversky, **BOTH, smoothing=0.5, first=1),
        at_even_odds(tversky, **BOTH, smoothing=0.5, first=1),
        ignore=0.3,
    ),
    overlap_case("FocalTversky-plain", FocalTversky, focal, at_even_odds(focal)),
    overlap_case(
        "FocalTversky-per-image",
        partial(FocalTversky, per_image=True, gamma=2.0),
        partial(tversky, power=0.5, per_image=True),
        at_even_odds(tversky, power=0.5, per_image=True),
        ignore=0.3,
        dims=(-1,),
    ),
]
