"""How far a number of this sample may be from that of the population.

Every bound is one-sided at `LEVEL`. A report rests on a handful of them, so that all together are wrong in less than
one report of twenty.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEVEL = 0.01


def normal(level: float = LEVEL) -> float:
    """The number of standard errors that a normal estimate exceeds with probability `level`.

    >>> round(normal(0.025), 2)
    1.96
    """
    return NormalDist().inv_cdf(1 - level)


def student(degrees: int, level: float = LEVEL) -> float:
    """The same where the standard error is itself estimated, from few independent values.

    The first three terms of the expansion in 1 / degrees (Abramowitz and Stegun 26.7.5); infinite below 3 degrees.

    >>> round(student(10, 0.025), 2)
    2.23
    """
    if degrees < 3:
        return math.inf
    z = normal(level)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


def margin(error: float, degrees: int, level: float = LEVEL) -> float:
    """How far from its estimate a number may be whose standard error was estimated from degrees + 1 values."""
    return student(degrees, level) * error if degrees >= 3 else math.inf


def share_bounds(counts: Array | float, total: float, level: float = LEVEL) -> tuple[Array, Array]:
    r"""Lower and upper bounds of the probabilities of which `counts` out of `total` were seen.

    Chernoff's inequality: :math:`n\,KL(k/n \,\|\, p) \le \log(1/\text{level})`. It holds for every n, unlike the normal
    approximation, which fails for the rare classes that matter here; and for the sum of any independent numbers in
    [0, 1], of which `total` were seen (Hoeffding 1963).
    """
    share = np.asarray(counts, dtype=float) / total
    budget = math.log(1 / level) / total
    return _solve(share, 0.0, budget), _solve(share, 1.0, budget)


def _solve(share: Array, end: float, budget: float) -> Array:
    """The probability between `share` and `end` whose divergence from `share` is `budget`, by bisection."""
    near, far = share.copy(), np.full_like(share, end)
    for _ in range(60):
        middle = (near + far) / 2
        inside = _divergence(share, middle) <= budget
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    return near


def _divergence(share: Array, probability: Array) -> Array:
    """KL divergence of two coins, in nats."""

    def part(a: Array, b: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(a > 0, a * np.log(a / b), 0.0)

    return part(share, probability) + part(1 - share, 1 - probability)


def mean_error(values: Array) -> float:
    """The standard error of the mean of independent values; infinite for fewer than two."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf


def ratio_error(numerators: Array, denominators: Array) -> float:
    """The standard error of sum(numerators) / sum(denominators) over independent groups, each a pair of both.

    The groups, such as images, are independent; what is inside of them, such as pixels, is not.
    """
    groups = len(numerators)
    if groups < 2:
        return math.inf
    ratio = numerators.sum() / denominators.sum()
    residuals = numerators - ratio * denominators
    return float(math.sqrt(groups / (groups - 1) * np.square(residuals).sum()) / denominators.sum())
