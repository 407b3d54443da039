"""Expected costs."""

from functools import partial

import torch

from cases.case import Array, Case, Pair
from cases.labels import CLASSES, IGNORED, elements, even, labelled
from lightning_losses.losses import CostSensitive

PRICES = ((0.0, 3.0, 1.0), (3.0, 0.5, 3.0), (1.0, 2.0, 0.0))  # to be right about class 1 costs too
RATIO = 1.1  # near 1: batches of either class come near the greatest cost
MISSES = ((0.0, RATIO), (1.0, 0.0))


def expected_cost(x: Array, y: Array, w: Array, costs) -> float:
    drawn = [(weight, sum(p[k] * costs[k][label] for k in range(len(p)))) for p, label, weight in elements(x, y, w)]
    return sum(weight * cost for weight, cost in drawn) / sum(weight for weight, _ in drawn)


def cheapest(y: Array, w: Array) -> float:
    drawn = [(weight, min(row[label] for row in PRICES)) for _, label, weight in elements(even(w), y, w)]
    return sum(weight * cost for weight, cost in drawn) / sum(weight for weight, _ in drawn)


def even_cost(y: Array, w: Array) -> float:
    drawn = [(weight, sum(row[label] for row in PRICES) / CLASSES) for _, label, weight in elements(even(w), y, w)]
    return sum(weight * cost for weight, cost in drawn) / sum(weight for weight, _ in drawn)


def two_classes(generator: torch.Generator, size: int) -> Pair:
    """Logits of two classes and their labels."""
    input = torch.randn(size, 2, generator=generator, dtype=torch.float64)
    return input, torch.randint(0, 2, (size,), generator=generator)


def priced_case(id: str, ignore: float = 0.0) -> Case:
    return Case(
        f"CostSensitive-{id}",
        partial(CostSensitive, cost_matrix=PRICES, ignore_index=IGNORED if ignore else None),
        partial(labelled, ignore=ignore),
        partial(expected_cost, costs=PRICES),
        even_cost,
        cheapest,
        dims=(0, -1),
    )


CASES = [
    priced_case("matrix"),
    priced_case("ignored", ignore=0.3),
    Case(
        "CostSensitive-ratio",
        partial(CostSensitive, false_negative_ratio=RATIO),
        two_classes,
        partial(expected_cost, costs=MISSES),
        lambda y, w: float((w * (1 + (RATIO - 1) * y)).sum() / w.sum()) / 2,
    ),
]
