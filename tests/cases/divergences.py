"""Divergences between distributions."""

import math
from functools import partial

import numpy as np
import torch

from cases.case import Array, Case, Pair
from cases.classification import distributed
from cases.labels import CLASSES, even, labelled
from lightning_losses.losses import JensenShannon, KLDivergence, Loss, SymmetricKL


def holed(generator: torch.Generator, size: int) -> Pair:
    """Logits and distributions that exclude one class each."""
    input, hole = labelled(generator, size)
    target = torch.rand(input.shape, generator=generator, dtype=torch.float64).scatter(1, hole.unsqueeze(1), 0.0)
    return input, target / target.sum(1, keepdim=True)


def paired(generator: torch.Generator, size: int) -> Pair:
    """Two sets of logits."""
    return labelled(generator, size)[0], labelled(generator, size)[0]


def extreme_pair(generator: torch.Generator, magnitude: float) -> Pair:
    """Two sets of logits of random signs."""
    input, target = (torch.randint(0, 2, (4, CLASSES, 5), generator=generator) * 2.0 - 1 for _ in range(2))
    return (input * magnitude).double(), (target * magnitude).double()


def softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum()


def kl(p: Array, q: Array) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)


def js(p: Array, t: Array, share: float) -> float:
    mixture = share * p + (1 - share) * t
    return share * kl(p, mixture) + (1 - share) * kl(t, mixture)


def mean_over_elements(formula, x: Array, y: Array, w: Array) -> float:
    """Of a formula of the logits of an element and what else there is of it."""
    places = [(n, slice(None), *place) for n, *place in np.ndindex(w.shape)]
    values = [formula(x[place], y[place]) for place in places]
    return sum(weight * value for weight, value in zip(w.flat, values, strict=True)) / w.sum()


def divergence_case(id: str, loss: type[Loss], formula, inputs, extreme=None, **options) -> Case:
    value = partial(mean_over_elements, formula)
    return Case(
        id,
        partial(loss, **options),
        inputs,
        value,
        lambda y, w: value(even(w), y, w),
        dims=(0, -1),
        extreme=extreme,
    )


def jensen_shannon_case(id: str, share: float) -> Case:
    return divergence_case(id, JensenShannon, lambda x, t: js(softmax(x), t, share), holed, share=share)


def jeffreys(x: Array, y: Array) -> float:
    p, q = softmax(x), softmax(y)
    return kl(p, q) + kl(q, p)


CASES = [
    divergence_case("KLDivergence", KLDivergence, lambda x, t: kl(t, softmax(x)), distributed),
    jensen_shannon_case("JensenShannon-even", 0.5),
    jensen_shannon_case("JensenShannon-uneven", 0.2),
    divergence_case("SymmetricKL", SymmetricKL, jeffreys, paired, extreme_pair),
]
