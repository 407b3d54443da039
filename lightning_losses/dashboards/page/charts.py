"""Charts of series: which lines a chart has, what they are called, and what is said of gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_losses.dashboards.history import History
from lightning_losses.dashboards.page.arrays import MOST, Arrays, kept
from lightning_losses.dashboards.panels import Panel, edges
from lightning_losses.dashboards.segment import SYSTEM, Series

COLORS = 8
DASHES = 4


@dataclass(frozen=True)
class Line:
    """One series of one run: its colour tells the last word of its key, its dashes what stands before."""

    run: int
    key: str
    label: str
    series: Series
    color: int
    dash: int
    band: tuple[Series, Series] | None = None

    @property
    def last(self) -> float:
        """The value that was logged last."""
        return float(self.series.values[-1])


@dataclass(frozen=True)
class Chart:
    """A picture of lines.

    Args:
        index: its place among the charts of the page.
        title: what it shows.
        label: the same beside others of its panel.
        lines: for the legend.
        spec: what the script of the page draws.
        notes: what is missing from it.
        summary: the chart in words, for those who do not see it.
    """

    index: int
    title: str
    label: str
    lines: tuple[Line, ...]
    spec: Mapping[str, Any]
    notes: tuple[str, ...]
    summary: str


class Charts:
    """Makes charts of panels and collects what the script needs to draw them.

    Args:
        histories: the runs.
        names: what they are called.
    """

    def __init__(self, histories: Sequence[History], names: Sequence[str]) -> None:
        self.histories = histories
        self.names = names
        self.arrays = Arrays()
        self.specs: list[Mapping[str, Any]] = []
        self.extent: dict[str, tuple[float, float]] = {}

    def of(self, panel: Panel, keys: Sequence[str]) -> list[Chart]:
        """One chart of all keys for a single run; for several a chart of each key, with a line of each run."""
        shades = {edge for key in keys for edge in edges(key)} if panel.kind == "band" else set()
        mains = self._different([key for key in keys if key not in shades])
        if len(self.histories) == 1:
            return [self._chart(panel, "", self._lines_of_run(mains))]
        labels = short(mains) if len(mains) > 1 else [""]
        return [self._chart(panel, label, self._lines_of_key(key)) for key, label in zip(mains, labels, strict=True)]

    def _different(self, keys: Sequence[str]) -> list[str]:
        """Keys without those that repeat another: a monitor and a recipe may log the same curve."""
        kept: dict[tuple[str, bytes], str] = {}
        for key in keys:
            series = [history.series[key] for history in self.histories if key in history.series]
            content = b"".join(array.tobytes() for its in series for array in its)
            kept.setdefault((key.rpartition("/")[2], content), key)
        return list(kept.values())

    def _lines_of_run(self, keys: Sequence[str]) -> list[Line]:
        series = self.histories[0].series
        paths, names = (list(dict.fromkeys(key.rpartition("/")[part] for key in keys)) for part in (0, 2))
        return [
            Line(0, key, label, series[key], *_look(names.index(name), paths.index(path)), _band(series, key))
            for key, label in zip(keys, short(keys), strict=True)
            for path, _, name in [key.rpartition("/")]
        ]

    def _lines_of_key(self, key: str) -> list[Line]:
        return [
            Line(run, key, self.names[run], history.series[key], *_look(run), _band(history.series, key))
            for run, history in enumerate(self.histories)
            if key in history.series
        ]

    def _chart(self, panel: Panel, label: str, lines: Sequence[Line]) -> Chart:
        values = np.concatenate([line.series.values[np.isfinite(line.series.values)] for line in lines])
        can_log = bool(len(values) and values.min() >= 0 and values.max() > 0)
        axis = "seconds" if lines[0].key.startswith(SYSTEM) else "step"
        first, last = self.extent.get(axis, (np.inf, -np.inf))
        first = min(first, *(float(line.series.steps[0]) for line in lines))
        last = max(last, *(float(line.series.steps[-1]) for line in lines))
        self.extent[axis] = (first, last)
        spec = {
            "axis": axis,
            "log": panel.log and can_log,
            "canLog": can_log,
            "smooth": panel.smoothing > 0,
            "lines": [self._line(line) for line in lines],
        }
        self.specs.append(spec)
        notes = tuple(note for line in lines for note in _notes(line))
        title = f"{panel.title}: {label}" if label else panel.title
        summary = f"{title}. {' '.join(map(_in_words, lines))}"
        return Chart(len(self.specs) - 1, title, label, tuple(lines), spec, notes, summary)

    def _line(self, line: Line) -> dict[str, Any]:
        steps, values = line.series
        places = kept(values)
        lower, upper = (self.arrays.values(edge.values[places]) for edge in line.band) if line.band else (None, None)
        return {
            "run": line.run,
            "color": line.color,
            "dash": line.dash,
            "x": self.arrays.positions(steps[places]),
            "y": self.arrays.values(values[places]),
            "lower": lower,
            "upper": upper,
        }


def short(keys: Sequence[str]) -> list[str]:
    """Keys without the leading parts that they share.

    >>> short(["train/raw/dice", "train/raw/focal"])
    ['dice', 'focal']
    >>> short(["val/loss"])
    ['loss']
    """
    parts = [key.split("/") for key in keys]
    shared = 0
    while all(len(its) > shared + 1 and its[shared] == parts[0][shared] for its in parts):
        shared += 1
    return ["/".join(its[shared:]) for its in parts]


def _look(color: int, dash: int = 0) -> tuple[int, int]:
    """There are more dashes when there are no more colours."""
    return color % COLORS, (color // COLORS + dash) % DASHES


def _band(series: Mapping[str, Series], key: str) -> tuple[Series, Series] | None:
    """The edges that were logged at the same steps."""
    if "/" not in key:
        return None
    lower, upper = (series.get(edge) for edge in edges(key))
    if lower is None or upper is None:
        return None
    fits = all(np.array_equal(edge.steps, series[key].steps) for edge in (lower, upper))
    return (lower, upper) if fits else None


def _notes(line: Line) -> list[str]:
    steps, values = line.series
    bad, notes = ~np.isfinite(values), []
    if bad.any():
        kind = "NaN" if np.isnan(values[bad]).all() else "NaN or infinite"
        first = steps[np.argmax(bad)]
        notes.append(
            f"{line.label} is {kind} at {bad.sum()} of {len(bad)} points, first at {first:,.0f}; these are gaps."
        )
    if len(values) > MOST:
        notes.append(f"Of {len(values):,} points of {line.label}, the peaks of {MOST // 2:,} stretches are drawn.")
    return notes


def _in_words(line: Line) -> str:
    good = np.flatnonzero(np.isfinite(line.series.values))
    if not len(good):
        return f"{line.label}: no finite value."
    (first, last), steps, values = good[[0, -1]], line.series.steps, line.series.values
    return (
        f"{line.label}: from {values[first]:.4g} at {steps[first]:,.0f} to {values[last]:.4g} at {steps[last]:,.0f}, "
        f"least {values[good].min():.4g}, greatest {values[good].max():.4g}."
    )
