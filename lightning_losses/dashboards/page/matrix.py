"""The cosines between the gradients of terms, as a matrix."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from lightning_losses.dashboards.findings.series import finite, late
from lightning_losses.dashboards.segment import Series

COSINE, NORM = "gradients/cosine/", "gradients/term_norm/"


class Cell(NamedTuple):
    """The cosine of a pair; None on the diagonal and for a pair that was not measured."""

    median: float | None
    negative: float | None


class Matrix(NamedTuple):
    """All pairs of the terms of one LossModule.

    Args:
        names: of the terms.
        rows: the cells, by name and name.
    """

    names: list[str]
    rows: list[list[Cell]]


def matrix(series: Mapping[str, Series]) -> Matrix | None:
    """The median cosine of the second half of a training, and the share of negative ones; None without cosines."""
    measured = {key.removeprefix(COSINE): its for key, its in series.items() if key.startswith(COSINE)}
    names = [key.removeprefix(NORM) for key in series if key.startswith(NORM)]
    pairs = {pair: measured[name] for pair in combinations(names, 2) for name in _logged(*pair) if name in measured}
    if not pairs:
        return None
    used = [name for name in names if any(name in pair for pair in pairs)]
    return Matrix(used, [[_cell(pairs.get((a, b)) or pairs.get((b, a))) for b in used] for a in used])


def _logged(a: str, b: str) -> Iterable[str]:
    """How the monitor may have called a pair, whose names may hold hyphens: the path of its LossModule stands once."""
    (path, _, name), (other, _, second) = a.rpartition("/"), b.rpartition("/")
    if path == other:
        start = f"{path}/" if path else ""
        yield f"{start}{name}-{second}"
        yield f"{start}{second}-{name}"


def _cell(series: Series | None) -> Cell:
    if series is None or not len(finite(series).values):
        return Cell(None, None)
    values = late(series)
    return Cell(float(np.median(values)), float(np.mean(values < 0)))
