"""Metric learning by distances."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from cases.case import Array, Case, Pair
from lightning_losses.losses import Contrastive, Loss, Triplet


def embedded(generator: torch.Generator, size: int, classes: int | None = 2) -> Pair:
    """Embeddings of a few classes that take turns, or of two views of each of some images."""
    input = torch.randn(size, 4, generator=generator, dtype=torch.float64)
    return input, torch.arange(size) % (classes or (size + 1) // 2)


def distance(a: Array, b: Array, normalize: bool) -> float:
    if normalize:
        a, b = a / math.sqrt(sum(a**2)), b / math.sqrt(sum(b**2))
    return math.sqrt(sum((a - b) ** 2))


def triplets(x: Array, y: Array, normalize: bool, margin: float) -> Iterator[list[float]]:
    """Of each anchor: the hinges of its triplets, the hardest being the greatest."""
    for a in range(len(x)):
        positives = [distance(x[a], x[p], normalize) for p in range(len(x)) if p != a and y[p] == y[a]]
        negatives = [distance(x[a], x[n], normalize) for n in range(len(x)) if y[n] != y[a]]
        yield [max(0.0, p - n + margin) for p, n in itertools.product(positives, negatives)]


def batch_hard(x: Array, y: Array, w: Array, **options) -> float:
    return float(np.mean([max(of_anchor) for of_anchor in triplets(x, y, **options) if of_anchor]))


def batch_all(x: Array, y: Array, w: Array, **options) -> float:
    return float(np.mean([hinge for of_anchor in triplets(x, y, **options) for hinge in of_anchor]))


def contrastive(x: Array, y: Array, w: Array, normalize: bool, margin: float) -> float:
    values = []
    for i, j in itertools.combinations(range(len(x)), 2):
        d = distance(x[i], x[j], normalize)
        values.append(d**2 if y[i] == y[j] else max(0.0, margin - d) ** 2)
    return float(np.mean(values))


def collapsed_contrastive(y: Array, w: Array, margin: float) -> float:
    return float(np.mean([y[i] != y[j] for i, j in itertools.combinations(range(len(y)), 2)])) * margin**2


def embedding_case(id: str, loss: Callable[..., Loss], value, reference, inputs=embedded, **flags) -> Case:
    return Case(
        id,
        loss,
        inputs,
        value,
        reference,
        elementwise=False,
        weighable=False,
        divisible=False,
        ragged=True,
        **{"searched": 4, **flags},
    )


def triplet_case(mining: str, margin: float, normalize: bool) -> Case:
    return embedding_case(
        f"Triplet-{mining}-{'normalized' if normalize else 'free'}",
        partial(Triplet, margin=margin, mining=mining, normalize=normalize),
        partial(batch_hard if mining == "batch_hard" else batch_all, normalize=normalize, margin=margin),
        lambda y, w: margin,
    )


def contrastive_case(margin: float, normalize: bool) -> Case:
    return embedding_case(
        f"Contrastive-{'normalized' if normalize else 'free'}",
        partial(Contrastive, margin=margin, normalize=normalize),
        partial(contrastive, normalize=normalize, margin=margin),
        partial(collapsed_contrastive, margin=margin),
        searched=2 if normalize else 3,
    )


CASES = [
    triplet_case("batch_hard", 0.5, normalize=True),
    triplet_case("batch_hard", 1.0, normalize=False),
    triplet_case("batch_all", 0.5, normalize=True),
    triplet_case("batch_all", 1.0, normalize=False),
    contrastive_case(2.0, normalize=True),
    contrastive_case(1.5, normalize=False),
]
