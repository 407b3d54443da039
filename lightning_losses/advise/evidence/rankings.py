"""Relevance of the items of a list, query by query: grades, lengths, ties."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.statistics import Array, margin, mean_error, share_bounds

TIES = 0.05
LONG = 10.0
ONE = 0.95


@dataclass(frozen=True)
class Rankings(Evidence):
    """Evidence of ranked lists.

    Args:
        grades: how many different relevances there are.
    """

    grades: int


def look(relevance: Sequence[Array]) -> Rankings:
    """Look at lists that have two items at least and two different relevances.

    Args:
        relevance: of the items of each query [n].
    """
    useful = [items for items in relevance if len(items) > 1 and items.min() < items.max()]
    lengths = np.array([len(items) for items in relevance], dtype=float)
    grades = len(np.unique(np.concatenate(list(relevance))))
    facts = {
        "queries": f"{len(relevance)}, of which {len(relevance) - len(useful)} have nothing to put in order",
        "items of a query": f"{lengths.min():.0f} to {lengths.max():.0f}, median {np.median(lengths):g}",
        "different relevances": f"{grades}",
    }
    if not useful:
        return Rankings(facts, {}, grades, notes=["No list has two different relevances: there is nothing to learn."])
    ties = np.array([_tied(items) for items in useful])
    single = np.array([float((items > items.min()).sum() == 1) for items in useful])
    findings = {
        "total order": _share("tied pairs", ties, TIES, "a total order has none (Xia et al. 2008)", below=True),
        "one relevant": _share("lists with one relevant item", single, ONE, "all but one of twenty"),
        "long": _long(np.array([len(items) for items in useful], dtype=float)),
    }
    return Rankings(facts, findings, grades)


def _tied(items: Array) -> float:
    """The share of pairs of equal relevance."""
    _, counts = np.unique(items, return_counts=True)
    return float((counts * (counts - 1)).sum() / (len(items) * (len(items) - 1)))


def _share(name: str, values: Array, threshold: float, source: str, below: bool = False) -> Finding:
    bounds = share_bounds(values.sum(), len(values))
    return Finding(name, float(values.mean()), float(bounds[below]), threshold, source, below)


def _long(lengths: Array) -> Finding:
    value = float(lengths.mean())
    bound = value - margin(mean_error(lengths), len(lengths) - 1)
    return Finding("items of a list", value, bound, LONG, "NDCG is commonly cut there")
