"""What all checks are made of: a finding, and plain questions to series."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np

from lightning_losses.dashboards.history import History
from lightning_losses.dashboards.segment import Numbers, Series

LEAST = 8
"""Values of a series below which nothing is said of its course."""


@dataclass(frozen=True)
class Finding:
    """One thing that stands out.

    Args:
        severity: ``"problem"``: the run is wrong; ``"warning"``: it may be; ``"note"``: worth knowing.
        title: what it is, in one sentence.
        evidence: the numbers and steps that say so.
        key: the series that shows it.
    """

    severity: Literal["problem", "warning", "note"]
    title: str
    evidence: str
    key: str


def named(history: History, *prefixes: str, least: int = LEAST) -> dict[str, tuple[str, Series]]:
    """Key and series by name: what follows the first of `prefixes` under which it is logged.

    Args:
        history: a run.
        prefixes: of keys, the preferred one first.
        least: how many finite values a series must have.
    """
    found: dict[str, tuple[str, Series]] = {}
    for prefix in prefixes:
        for key, series in history.series.items():
            if key.startswith(prefix) and len(finite(series).values) >= least:
                found.setdefault(key.removeprefix(prefix), (key, series))
    return found


def matching(history: History, patterns: Iterable[str]) -> dict[str, Series]:
    """The series whose keys match one of the shell-style patterns."""
    patterns = tuple(patterns)
    return {k: series for k, series in history.series.items() if any(fnmatchcase(k, pattern) for pattern in patterns)}


def siblings(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of terms by the LossModule that they belong to.

    >>> siblings(["critic/real", "critic/fake", "dice"])
    {'critic': ['critic/real', 'critic/fake'], '': ['dice']}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    return groups


def finite(series: Series) -> Series:
    """The values that are numbers, with their steps."""
    good = np.isfinite(series.values)
    return Series(series.steps[good], series.values[good])


def late(series: Series, share: float = 0.5) -> Numbers:
    """The finite values of the last part of a series.

    >>> late(Series(np.arange(4.0), np.array([1.0, 2.0, 3.0, 4.0])))
    array([3., 4.])
    """
    values = finite(series).values
    return values[-max(1, round(share * len(values))) :]


def late_medians(found: Mapping[str, tuple[str, Series]]) -> dict[str, float]:
    """Of each name the median over the second half."""
    return {name: float(np.median(late(series))) for name, (_, series) in found.items()}


def step(value: float) -> str:
    """A step as it is written.

    >>> step(12000.0)
    'step 12,000'
    """
    return f"step {value:,.0f}"


def percent(share: float) -> str:
    """A share as it is written.

    >>> percent(0.934)
    '93 %'
    """
    return f"{100 * share:.0f} %"
