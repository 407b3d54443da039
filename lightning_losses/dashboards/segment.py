"""What was logged between one start of a run and its end, and how the segments of a run that was resumed join."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
SYSTEM = "system/"
"""What the keys of measurements of the machine begin with; they are counted in seconds, not in steps."""


class Series(NamedTuple):
    """The values of one key.

    Args:
        steps: ascending; of a key that begins with ``system/``, the seconds since the run was started.
        values: NaN and infinities included.
    """

    steps: Numbers
    values: Numbers


class Image(NamedTuple):
    """A picture that was logged."""

    key: str
    step: int
    path: Path


Cell = str | float | None


class Table(NamedTuple):
    """A table that was logged."""

    key: str
    step: int
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


Medium = TypeVar("Medium", Image, Table)


@dataclass
class Segment:
    """What one start of a run has logged.

    Args:
        source: the file.
        name: of the run, if the logger knows one.
        run_id: likewise; unlike the name nobody chooses it.
        start: when, in seconds; 0 where that is not known.
        config: what the logger was told of the run.
        points: the values of each key by their steps; of two at one step, the later one.
        images: in order.
        tables: in order.
        problems: what is missing, in sentences.
        has_ended: whether the log says so.
    """

    source: Path
    name: str = ""
    run_id: str = ""
    start: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)
    points: dict[str, dict[float, float]] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    has_ended: bool = True

    def add(self, key: str, step: float, value: float) -> None:
        """Note a value."""
        self.points.setdefault(key, {})[step] = value

    def _steps(self) -> list[float]:
        return [step for key, points in self.points.items() if not key.startswith(SYSTEM) for step in points]

    @property
    def count(self) -> int:
        """How many values were logged, those of the machine left out."""
        return len(self._steps())

    @property
    def first_step(self) -> float:
        """The first step that was logged; infinite where none was."""
        return min(self._steps(), default=math.inf)

    @property
    def last_step(self) -> float:
        """The last step that was logged; -1 where none was."""
        return max(self._steps(), default=-1)


def continued(segments: Sequence[Segment], is_one_run: bool) -> list[Segment]:
    """The last segment and those before it that it goes on from.

    Args:
        segments: in the order of their starts.
        is_one_run: whether all are known to be of one run. If not, a segment goes on from the one before if it has the
            same id, or the same name and begins at a later step.
    """
    kept = list(segments[-1:])
    for segment in reversed(segments[:-1]):
        is_same = segment.run_id == kept[0].run_id != ""
        goes_on = segment.name == kept[0].name and segment.first_step < kept[0].first_step
        if not (is_one_run or is_same or goes_on):
            break
        kept.insert(0, segment)
    return kept


def join(segments: Sequence[Segment]) -> dict[str, Series]:
    """One series a key. What a killed segment logged beyond the point from which the run was resumed did not happen."""
    joined: dict[str, dict[float, float]] = {}
    for segment, end in zip(segments, _ends(segments), strict=True):
        later = segment.start - segments[0].start
        for key, points in segment.points.items():
            if key.startswith(SYSTEM):
                joined.setdefault(key, {}).update({seconds + later: value for seconds, value in points.items()})
            else:
                joined.setdefault(key, {}).update({step: value for step, value in points.items() if step < end})
    return {key: _series(points) for key, points in sorted(joined.items()) if points}


def join_images(segments: Sequence[Segment]) -> tuple[Image, ...]:
    """All pictures, except those that a killed segment logged beyond the point from which the run was resumed."""
    return _kept(segments, [segment.images for segment in segments])


def join_tables(segments: Sequence[Segment]) -> tuple[Table, ...]:
    """All tables, likewise."""
    return _kept(segments, [segment.tables for segment in segments])


def _kept(segments: Sequence[Segment], media: Sequence[Sequence[Medium]]) -> tuple[Medium, ...]:
    ends = zip(media, _ends(segments), strict=True)
    return tuple(medium for its, end in ends for medium in its if medium.step < end)


def _ends(segments: Sequence[Segment]) -> list[float]:
    """Where each segment was overtaken by a later one."""
    firsts = [segment.first_step for segment in segments]
    return [min(firsts[index + 1 :], default=math.inf) for index in range(len(segments))]


def _series(points: Mapping[float, float]) -> Series:
    steps = np.fromiter(points.keys(), np.float64, len(points))
    values = np.fromiter(points.values(), np.float64, len(points))
    order = np.argsort(steps, kind="stable")
    return Series(steps[order], values[order])
