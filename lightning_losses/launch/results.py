"""The results of a sweep as one table, best first."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_losses.cli.files import LAST
from lightning_losses.launch import jobs, sweep, tools
from lightning_losses.launch.planning import Planned

FILE = "results.csv"


@dataclass(frozen=True)
class Row:
    """What is known of a run.

    Args:
        values: what the sweep set in it, by key.
        state: finished, running, pending, failed, stopped or not started.
        metrics: what its test measured; empty until it is finished.
        minutes: how long it trained.
        directory: where its files are.
    """

    values: dict[str, str]
    state: str
    metrics: dict[str, float]
    minutes: float | None
    directory: Path


def report(runs: Sequence[Planned]) -> None:
    """Write the table beside the runs, and print it."""
    rows, file = collect(runs), sweep.folder(runs) / FILE
    write(rows, file)
    show(rows, metric_of(runs)[0])
    print(f"Written to {file}.")


def collect(runs: Sequence[Planned]) -> list[Row]:
    """A row for every run: the finished ones from the best value of the recipe's reference metric to the worst."""
    queue = jobs.queued() if tools.is_here() and any(jobs.recorded(run.directory) for run in runs) else {}
    rows = [_row(run, queue) for run in runs]
    metric, highest_first = metric_of(runs)

    def place(row: Row) -> tuple[bool, bool, float]:
        value = row.metrics.get(metric or "", math.nan)
        return row.state != "finished", math.isnan(value), 0.0 if math.isnan(value) else _signed(value, highest_first)

    return sorted(rows, key=place)


def metric_of(runs: Sequence[Planned]) -> tuple[str | None, bool]:
    """The metric of the recipe's reference, and whether higher is better."""
    reference: dict[str, Any] = runs[0].config.get("reference") or {}
    return reference.get("metric"), reference.get("mode", "max") == "max"


def write(rows: Sequence[Row], file: Path) -> None:
    """Write the table as CSV, with all metrics."""
    keys = list(rows[0].values)
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow([*keys, "state", *metrics, "minutes", "run_dir"])
        for row in rows:
            measured = [row.metrics.get(name, "") for name in metrics]
            minutes = "" if row.minutes is None else row.minutes
            table.writerow([*row.values.values(), row.state, *measured, minutes, row.directory])


def show(rows: Sequence[Row], metric: str | None) -> None:
    """Print the table with the reference metric."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0].values, "state", metric or "", "minutes", "run_dir", box=None)
    table.columns[-1].overflow = "fold"
    for row in rows:
        value = row.metrics.get(metric or "")
        measured = "" if value is None else f"{value:.4f}"
        minutes = "" if row.minutes is None else f"{row.minutes:g}"
        table.add_row(*row.values.values(), row.state, measured, minutes, str(row.directory))
    Console().print(table)


def _row(run: Planned, queue: dict[str, str]) -> Row:
    result = run.result()
    if result:
        return Row(run.values, "finished", result["metrics"], result["minutes"], run.directory)
    return Row(run.values, _state(run.directory, queue), {}, None, run.directory)


def _state(directory: Path, queue: dict[str, str]) -> str:
    job = jobs.recorded(directory)
    if job in queue:
        return queue[job]
    if any(directory.glob("traceback-*.txt")):
        return "failed"
    return "stopped" if (directory / LAST).exists() else "not started"


def _signed(value: float, highest_first: bool) -> float:
    return -value if highest_first else value
