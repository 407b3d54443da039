"""Arrays and tables: .npy, .npz, .pt, .csv, and the IDX files of MNIST."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from lightning_losses.advise.reading.data import Data
from lightning_losses.advise.statistics import Array
from lightning_losses.checks import message, nearest

ONLY = "the array"  # the name of one that has none
IDX_LABELS = b"\x00\x00\x08\x01"  # unsigned bytes, one dimension
FORMATS = ".npy, .npz, .pt, .csv, .json (COCO) or an IDX file of labels"


def read(path: Path, columns: Sequence[str] = (), group: str | None = None) -> Data:
    """The targets in a table.

    Args:
        path: the file.
        columns: the targets among its columns; may be left out where there is one.
        group: the column that says which query an item belongs to; the targets are then a list of arrays.

    Raises:
        ValueError: a column does not exist or was not chosen, or the file is of another format.
    """
    table = _load(path)
    rest = [name for name in table if name != group]
    chosen = list(columns) or rest
    for name in [*chosen, *([group] if group else [])]:
        if name not in table:
            raise ValueError(f"{path.name} has no column {name!r}. {nearest(name, table)}")
    if not columns and len(rest) > 1:
        more = ", ..." * (len(rest) > 12)
        raise ValueError(f"--column must be given, one of {', '.join(map(repr, rest[:12]))}{more}")
    values, names = _numbers(path, [table[name] for name in chosen])
    if group is None:
        return Data(values, _task(path), names)
    _, query = np.unique(table[group], return_inverse=True)
    order = np.argsort(query, kind="stable")
    return Data(np.split(values[order], np.flatnonzero(np.diff(query[order])) + 1), "ranking", names)


def read_all(path: Path) -> Array:
    """All columns of a table, as predictions are stored."""
    return _numbers(path, list(_load(path).values()))[0]


def names(path: Path) -> list[str]:
    """The columns of a table; none of anything else."""
    return list(_load(path)) if path.suffix in (".csv", ".npz") else []


def _task(path: Path) -> str | None:
    return "classification" if "idx" in path.name and path.suffix not in (".npy", ".npz", ".pt", ".csv") else None


def _load(path: Path) -> dict[str, Array]:
    try:
        match path.suffix:
            case ".npy":
                return {ONLY: np.load(path)}
            case ".npz":
                with np.load(path) as archive:
                    return dict(archive)
            case ".pt":
                return _tensors(torch.load(path, map_location="cpu", weights_only=True))
            case ".csv":
                return _csv(path)
            case _:
                return {ONLY: _idx(path)}
    except (ValueError, OSError, EOFError, UnpicklingError, RuntimeError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise ValueError(message(str(path), "a table that can be read", reason)) from error


def _tensors(content: Any) -> dict[str, Array]:
    named = content if isinstance(content, dict) else {ONLY: content}
    return {str(name): np.asarray(torch.as_tensor(values).double().numpy()) for name, values in named.items()}


def _csv(path: Path) -> dict[str, Array]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if not rows:
        raise ValueError("it has no row below its header")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} values, the header {len(header)}")
    return {name.strip(): np.array(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)}


def _idx(path: Path) -> Array:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        content = file.read()
    if content[:4] != IDX_LABELS:
        raise ValueError(f"it is none of {FORMATS}")
    return np.frombuffer(content, dtype=np.uint8, offset=8)


def _numbers(path: Path, columns: Sequence[Array]) -> tuple[Array, Sequence[str]]:
    """The columns side by side; words become the index of the word in the sorted ones."""
    classes: list[str] = []
    numeric: list[Array] = []
    for column in columns:
        empty = np.flatnonzero(column == "")
        if len(empty):
            raise ValueError(message(str(path), "without empty cells", f"one in row {empty[0] + 2}"))
        if column.dtype.kind != "U":
            numeric.append(column)
        elif (parsed := _parse(column)) is not None:
            numeric.append(parsed)
        elif len(columns) == 1:
            words, index = np.unique(column, return_inverse=True)
            numeric.append(index)
            classes = [str(word) for word in words]
        else:
            raise ValueError(message(str(path), "numbers in all of several columns", str(column[0])))
    return (numeric[0] if len(numeric) == 1 else np.stack(numeric, 1)), classes


def _parse(column: Array) -> Array | None:
    try:
        numbers = column.astype(float)
    except ValueError:
        return None
    return numbers
