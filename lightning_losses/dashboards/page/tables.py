"""Tables of runs: their results side by side, and where their configurations differ."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightning_losses.config import leaves
from lightning_losses.dashboards.findings.results import reference_of
from lightning_losses.dashboards.history import History

NOT_TRAINING = ("system/", "test/", "epoch")


class Outcome(NamedTuple):
    """The reference check of a run, in words."""

    text: str
    reached: bool


class Row(NamedTuple):
    """A key of the configuration, and its value in every run; None where a run does not have it."""

    key: str
    values: list[str | None]


def outcome(history: History) -> Outcome | None:
    """Whether the run reaches the reference; None where there is none, or no result."""
    found = reference_of(history)
    if found is None:
        return None
    reference, measured = found
    stated = f"{reference.metric} {measured:.4g}, reference {reference.value:g} ± {reference.tolerance:g}"
    reached = reference.reached(measured)
    ending = "reached" if reached else f"missed by {reference.shortfall(measured):.3g}"
    return Outcome(f"{stated}: {ending}", reached)


def facts(history: History) -> dict[str, str]:
    """What is said of a run in a line: how long, on what, from where."""
    result = history.result
    steps = [
        its.steps[-1] for key, its in history.series.items() if len(its.steps) and not key.startswith(NOT_TRAINING)
    ]
    metrics = result.get("metrics") or {}
    found = {
        "recipe": " · ".join(str(result[key]) for key in ("recipe", "size") if result.get(key)),
        "steps": f"{max(steps, default=-1) + 1:,.0f}",
        "time": _duration(result["minutes"]) if result.get("minutes") is not None else "",
        "seed": str(result.get("seed", "")),
        "hardware": str(result.get("hardware", "")),
        **{key: f"{value:.4g}" for key, value in metrics.items() if isinstance(value, (int, float))},
    }
    return {key: value for key, value in found.items() if value}


def _duration(minutes: float) -> str:
    return (
        f"{60 * minutes:.0f} s" if minutes < 1 else f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
    )


def configurations(configs: Sequence[Mapping[str, Any]]) -> tuple[list[Row], list[Row]]:
    """Rows that differ between runs, and rows that do not.

    >>> differing, same = configurations([{"lr": 0.1, "seed": 0}, {"lr": 0.2, "seed": 0}])
    >>> differing, [row.key for row in same]
    ([Row(key='lr', values=['0.1', '0.2'])], ['seed'])
    """
    flat = [{key: _written(value) for key, value in leaves(dict(config))} for config in configs]
    rows = [Row(key, [its.get(key) for its in flat]) for key in dict.fromkeys(key for its in flat for key in its)]
    return [row for row in rows if len(set(row.values)) > 1], [row for row in rows if len(set(row.values)) == 1]


def _written(value: Any) -> str:
    """As YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
