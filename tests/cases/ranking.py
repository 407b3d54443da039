"""Ranking."""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from cases.case import Array, Case, Pair
from lightning_losses.losses import LambdaRank, ListMLE, ListNet, Loss, PairwiseLogistic


def graded(generator: torch.Generator, size: int) -> Pair:
    """Scores and grades of relevance, some of them equal."""
    input = torch.randn(size, 5, generator=generator, dtype=torch.float64)
    return input, torch.randint(0, 4, input.shape, generator=generator)


def ordered(generator: torch.Generator, size: int) -> Pair:
    """Scores and relevances, no two of them equal."""
    input, target = torch.randn(2, size, 5, generator=generator, dtype=torch.float64)
    return input, target


def pairs(relevance: Array) -> Iterator[tuple[int, int]]:
    for i, j in itertools.permutations(range(len(relevance)), 2):
        if relevance[i] > relevance[j]:
            yield i, j


def pairwise_logistic(x: Array, y: Array, w: Array) -> float:
    return float(np.mean([math.log(1 + math.exp(s[j] - s[i])) for s, r in zip(x, y, strict=True) for i, j in pairs(r)]))


def dcg(relevance: Array, order: tuple[int, ...], top: int) -> float:
    return sum((2.0 ** relevance[i] - 1) / math.log2(place + 2) for place, i in enumerate(order[:top]))


def change(r: Array, order: tuple[int, ...], i: int, j: int, top: int) -> float:
    """By how much NDCG changes if two items swap places."""
    swapped = tuple(j if k == i else i if k == j else k for k in order)
    ideal = dcg(r, tuple(sorted(range(len(r)), key=lambda k: -r[k])), top)
    return abs(dcg(r, order, top) - dcg(r, swapped, top)) / ideal


def lambda_rank(x: Array, y: Array, w: Array, top: int = 5) -> float:
    """With equal scores, the mean over all the orders that they allow."""
    values = []
    for s, r in zip(x, y, strict=True):
        orders = [
            o for o in itertools.permutations(range(len(s))) if all(s[a] >= s[b] for a, b in itertools.pairwise(o))
        ]
        drawn = [
            np.mean([change(r, order, i, j, top) for order in orders]) * math.log(1 + math.exp(s[j] - s[i]))
            for i, j in pairs(r)
        ]
        values += [sum(drawn)] if drawn else []
    return float(np.mean(values))


def softmax(x: Array) -> Array:
    return np.exp(x) / sum(np.exp(x))


def listnet(x: Array, y: Array, w: Array) -> float:
    return float(np.mean([-sum(softmax(r) * np.log(softmax(s))) for s, r in zip(x, y, strict=True)]))


def listmle(x: Array, y: Array, w: Array) -> float:
    values = []
    for s, r in zip(x, y, strict=True):
        left, value = list(range(len(s))), 0.0
        while left:
            best = max(left, key=lambda i: r[i])
            value -= math.log(math.exp(s[best]) / sum(math.exp(s[i]) for i in left))
            left.remove(best)
        values.append(value)
    return float(np.mean(values))


def ranking_case(id: str, loss: Callable[..., Loss], inputs, value, reference=None, **flags) -> Case:
    return Case(
        id,
        loss,
        inputs,
        value,
        reference or (lambda y, w: value(np.zeros(y.shape), y, w)),
        dims=(0, -1),
        elementwise=False,
        weighable=False,
        ragged=True,
        **flags,
    )


CASES = [
    ranking_case("PairwiseLogistic", PairwiseLogistic, graded, pairwise_logistic, lambda y, w: math.log(2)),
    ranking_case("LambdaRank", LambdaRank, graded, lambda_rank),
    ranking_case("LambdaRank-top2", partial(LambdaRank, top=2), graded, partial(lambda_rank, top=2)),
    ranking_case(
        "ListNet",
        ListNet,
        ordered,
        listnet,
        lambda y, w: math.log(y.shape[1]),
        lower=lambda y, w: listnet(y, y, w),
    ),
    ranking_case("ListMLE", ListMLE, ordered, listmle, lambda y, w: math.log(math.factorial(y.shape[1]))),
]
