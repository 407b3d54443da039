"""The table that the tests of losses run on: one row per loss and variant, one file per family.

To add a loss, add a row: how to make it, how to make its inputs, what it is worth by an independent computation (numpy
in float64, by loops over elements), and where it stands between knowing everything and knowing nothing.
"""

from cases import (
    angular,
    asymmetric,
    boundary,
    boxes,
    classification,
    contrastive,
    cost,
    distillation,
    divergences,
    focal,
    gan,
    gradient_penalty,
    information,
    landmarks,
    lovasz,
    margin,
    ordinal,
    pairs,
    quantile,
    ranking,
    regression,
    robustness,
    rounding,
    segmentation,
    tversky,
    varifocal,
)
from cases.case import Case

CASES: list[Case] = [
    *classification.CASES,
    *focal.CASES,
    *asymmetric.CASES,
    *margin.CASES,
    *cost.CASES,
    *ordinal.CASES,
    *divergences.CASES,
    *distillation.CASES,
    *regression.CASES,
    *quantile.CASES,
    *landmarks.CASES,
    *rounding.CASES,
    *boxes.CASES,
    *segmentation.CASES,
    *tversky.CASES,
    *varifocal.CASES,
    *lovasz.CASES,
    *boundary.CASES,
    *gan.CASES,
    *gradient_penalty.CASES,
    *information.CASES,
    *robustness.CASES,
    *pairs.CASES,
    *contrastive.CASES,
    *angular.CASES,
    *ranking.CASES,
]
