"""Metric learning by classification."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from cases.case import Array, Case
from cases.pairs import embedded, embedding_case
from lightning_losses.losses import InfoNCE


def info_nce(x: Array, y: Array, w: Array, temperature: float) -> float:
    z = [row / math.sqrt(sum(row**2)) for row in x]
    values = []
    for i in range(len(z)):
        likeness = {j: math.exp(sum(z[i] * z[j]) / temperature) for j in range(len(z)) if j != i}
        positives = [j for j in likeness if y[j] == y[i]]
        if positives:
            values.append(-np.mean([math.log(likeness[p] / sum(likeness.values())) for p in positives]))
    return float(np.mean(values))


def numbers(y: Array) -> Iterator[tuple[int, int]]:
    """How many positives and negatives each anchor with a positive has."""
    for label in y:
        if np.sum(y == label) > 1:
            yield np.sum(y == label) - 1, np.sum(y != label)


def least_info_nce(y: Array, w: Array, temperature: float) -> float:
    """Of unequal classes, for each anchor alone."""
    assert len({np.sum(y == label) for label in y}) > 1
    return float(np.mean([math.log(p + n * math.exp(-2 / temperature)) for p, n in numbers(y)]))


def info_nce_case(id: str, temperature: float, classes: int | None) -> Case:
    return embedding_case(
        f"InfoNCE-{id}",
        partial(InfoNCE, temperature=temperature),
        partial(info_nce, temperature=temperature),
        lambda y, w: float(np.mean([math.log(p + n) for p, n in numbers(y)])),
        partial(embedded, classes=classes),
        lower=partial(least_info_nce, temperature=temperature),
    )


CASES = [info_nce_case("views", 0.1, None), info_nce_case("classes", 0.2, 2)]
