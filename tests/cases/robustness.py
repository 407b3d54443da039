"""Adversarial training."""

import math
from functools import partial

import torch

from cases.case import Array, Case, Pair
from cases.labels import CLASSES, IGNORED, elements, labelled
from lightning_losses.losses import MART, TRADES, Loss


class Stacked:
    """Called with clean and adversarial logits as one input [N, 2, C, *], as they lie inside."""

    forward = Loss.forward
    statistics = Loss.statistics


class StackedTRADES(Stacked, TRADES):
    pass


class StackedMART(Stacked, MART):
    pass


def attacked(generator: torch.Generator, size: int, ignore: float = 0.0) -> Pair:
    """Logits of clean and of adversarial inputs, and labels."""
    clean, target = labelled(generator, size, ignore=ignore)
    adversarial, _ = labelled(generator, size)
    return torch.stack([clean, adversarial], 1), target


def divergence(p: Array, q: Array) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def mean(of_element, x: Array, y: Array, w: Array) -> float:
    both = zip(elements(x[:, 0], y, w), elements(x[:, 1], y, w), strict=True)
    drawn = [(weight, of_element(p, q, k)) for (p, k, weight), (q, _, _) in both]
    return sum(weight * value for weight, value in drawn) / sum(weight for weight, _ in drawn)


def trades(p: Array, q: Array, y: int, beta: float = 6.0) -> float:
    return -math.log(p[y]) + beta * divergence(p, q)


def mart(p: Array, q: Array, y: int, beta: float = 5.0) -> float:
    rival = max(q[k] for k in range(CLASSES) if k != y)
    return -math.log(q[y]) - math.log(1 - rival) + beta * (1 - p[y]) * divergence(p, q)


def robust_case(id: str, loss, formula, reference: float, ignore: float = 0.0, **options) -> Case:
    return Case(
        id,
        partial(loss, **options, **({"ignore_index": IGNORED} if ignore else {})),
        partial(attacked, ignore=ignore),
        partial(mean, partial(formula, **options)),
        lambda y, w: reference,
        dims=(0, -1),
    )


EVEN_MART = -math.log(1 / CLASSES) - math.log(1 - 1 / CLASSES)

CASES = [
    robust_case("TRADES", StackedTRADES, trades, math.log(CLASSES)),
    robust_case("TRADES-ignored", StackedTRADES, trades, math.log(CLASSES), ignore=0.3, beta=1.5),
    robust_case("MART", StackedMART, mart, EVEN_MART),
    robust_case("MART-ignored", StackedMART, mart, EVEN_MART, ignore=0.3, beta=1.5),
]
