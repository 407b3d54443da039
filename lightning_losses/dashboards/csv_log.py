"""Reads what Lightning's CSVLogger keeps of a run on the disk."""

import csv
from pathlib import Path
from typing import Any

import yaml

from lightning_losses.dashboards.segment import Cell, Image, Segment, Table

FILE = "metrics.csv"
FIGURES = "figures"
"""The folder beside the table in which `log_figure` keeps pictures, as ``<name>/step<n>.png``."""

TABLES = "tables"
"""The folder beside it in which `log_table` keeps tables, as ``<name>/step<n>.csv``."""


def read_csv(folder: Path) -> Segment:
    """Read ``metrics.csv``, the pictures and the tables in a folder ``version_...``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table with a column ``step``.
    """
    path = folder / FILE
    segment = Segment(path, config=_hyperparameters(folder / "hparams.yaml"))
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        segment.problems.append(f"The last row of {path} is not whole, and left out: the run was killed.")
    rows = csv.DictReader(lines)
    if rows.fieldnames is None or "step" not in rows.fieldnames:
        raise ValueError(f"{path} must be a table with a column 'step', found {rows.fieldnames}.")
    for row in rows:
        step = float(row.pop("step"))
        for key, text in row.items():
            if text:
                segment.add(key, step, float(text))
    segment.images = [Image(key, step, path) for key, step, path in _kept(folder / FIGURES, "png")]
    segment.tables = [_table(key, step, path) for key, step, path in _kept(folder / TABLES, "csv")]
    return segment


def _kept(folder: Path, ending: str) -> list[tuple[str, int, Path]]:
    """Files ``<key>/step<n>``: key, step and path, in the order of the steps."""
    found = [
        (path.parent.relative_to(folder).as_posix(), int(path.stem.removeprefix("step")), path)
        for path in folder.glob(f"**/step*.{ending}")
    ]
    return sorted(found, key=lambda file: (file[1], file[0]))


def _table(key: str, step: int, path: Path) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        columns, *rows = [*csv.reader(file)] or [[]]
    return Table(key, step, columns, [[_cell(text) for text in row] for row in rows])


def _cell(text: str) -> Cell:
    try:
        return float(text)
    except ValueError:
        return text


def _hyperparameters(path: Path) -> dict[str, Any]:
    """Empty where they hold objects of Python, which only the code that wrote them can read."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}
