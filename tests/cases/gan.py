"""Generative adversarial networks."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cases.case import Array, Case, Pair
from cases.numbers import weighted_mean
from lightning_losses.losses import (
    HingeDiscriminator,
    HingeGenerator,
    LeastSquaresDiscriminator,
    LeastSquaresGenerator,
    LogisticDiscriminator,
    Loss,
    MinimaxGenerator,
    NonSaturatingGenerator,
    RelativisticDiscriminator,
    RelativisticGenerator,
    WassersteinDiscriminator,
    WassersteinGenerator,
)
from lightning_losses.reduction import Parts


class Stacked:
    """A loss of pairs that takes them as one input [N, 2, *]: both are then differentiated, searched and made large."""

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        return super().elements(*input.unbind(1))


class StackedLogistic(Stacked, LogisticDiscriminator):
    pass


class StackedLeastSquares(Stacked, LeastSquaresDiscriminator):
    pass


class StackedHinge(Stacked, HingeDiscriminator):
    pass


class StackedWasserstein(Stacked, WassersteinDiscriminator):
    pass


class StackedRelativistic(Stacked, RelativisticDiscriminator):
    pass


class StackedRelativisticGenerator(Stacked, RelativisticGenerator):
    pass


def pairs(generator: torch.Generator, size: int) -> Pair:
    """Scores of real and fake samples, and nothing to compare them with."""
    return torch.randn(size, 2, 4, generator=generator, dtype=torch.float64), torch.zeros(size, 4, dtype=torch.float64)


def scores(generator: torch.Generator, size: int) -> Pair:
    """Scores of fake samples, and nothing to compare them with."""
    input = torch.randn(size, 4, generator=generator, dtype=torch.float64)
    return input, torch.zeros_like(input)


def mean_of_pairs(formula: Callable[[float, float], float], x: Array, y: Array, w: Array) -> float:
    values = [w[n, i] * formula(x[n, 0, i], x[n, 1, i]) for n, i in np.ndindex(w.shape)]
    return sum(values) / w.sum()


def probability(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def gan_case(loss: Callable[..., Loss], formula: Callable[..., float], reference: float | None, paired: bool) -> Case:
    return Case(
        loss.__name__,
        loss,
        pairs if paired else scores,
        partial(mean_of_pairs if paired else weighted_mean, formula),
        None if reference is None else lambda y, w: reference,
        dims=(0, -1),
    )


discriminator = partial(gan_case, paired=True)


def generator_case(loss: Callable[..., Loss], formula: Callable[[float], float], reference: float | None) -> Case:
    return gan_case(loss, lambda fake, nothing: formula(fake), reference, paired=False)


CASES = [
    discriminator(
        StackedLogistic,
        lambda real, fake: -math.log(probability(real)) - math.log(1 - probability(fake)),
        math.log(4),
    ),
    discriminator(StackedLeastSquares, lambda real, fake: 0.5 * (real - 1) ** 2 + 0.5 * fake**2, 0.25),
    discriminator(StackedHinge, lambda real, fake: max(0, 1 - real) + max(0, 1 + fake), 2.0),
    discriminator(StackedWasserstein, lambda real, fake: fake - real, None),
    discriminator(StackedRelativistic, lambda real, fake: -math.log(probability(real - fake)), math.log(2)),
    discriminator(StackedRelativisticGenerator, lambda fake, real: -math.log(probability(fake - real)), math.log(2)),
    generator_case(MinimaxGenerator, lambda fake: math.log(1 - probability(fake)), None),
    generator_case(NonSaturatingGenerator, lambda fake: -math.log(probability(fake)), math.log(2)),
    generator_case(LeastSquaresGenerator, lambda fake: 0.5 * (fake - 1) ** 2, 0.125),
    generator_case(WassersteinGenerator, lambda fake: -fake, None),
    generator_case(HingeGenerator, lambda fake: -fake, None),
]
