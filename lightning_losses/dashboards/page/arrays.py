"""Numbers on the page: packed, shared and, beyond what a screen can show, thinned out."""

import base64
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lightning_losses.dashboards.segment import Numbers

Places = NDArray[np.int64]
MOST = 20_000
"""Points of a series on the page: more than a screen can show, few enough to be drawn at once."""


class Arrays:
    """Arrays that are kept once each, in base64, and spoken of by their index."""

    def __init__(self) -> None:
        self._indices: dict[bytes, int] = {}

    def positions(self, values: Numbers) -> int:
        """Of float64: steps are exact beyond 2^24."""
        return self._keep(values.astype("<f8").tobytes())

    def values(self, values: Numbers) -> int:
        """Of float32, which is what is logged."""
        with np.errstate(over="ignore"):  # infinite is how a float32 says it
            return self._keep(values.astype("<f4").tobytes())

    def encoded(self) -> list[str]:
        """All of them, by index."""
        return [base64.b64encode(data).decode() for data in self._indices]

    def _keep(self, data: bytes) -> int:
        return self._indices.setdefault(data, len(self._indices))


def kept(values: Numbers, most: int = MOST) -> Places:
    """The places of at most so many values: of every stretch the least and the greatest, so that no peak is lost.

    A stretch with values that are not finite keeps the first of these too.

    >>> places = kept(np.where(np.arange(1000) == 700, 5.0, 0.0), most=10)
    >>> len(places), 700 in places  # where all values are equal, one is enough
    (6, True)
    """
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), most // 2 + 1).astype(int)
    places: list[int] = []
    for start, stop in pairwise(edges.tolist()):
        part = values[start:stop]
        good, odd = np.flatnonzero(np.isfinite(part)), np.flatnonzero(~np.isfinite(part))
        extremes = good[[part[good].argmin(), part[good].argmax()]] if len(good) else good
        places += [start + i for i in sorted({*extremes.tolist(), *odd[:1].tolist()})]
    return np.array(places)
