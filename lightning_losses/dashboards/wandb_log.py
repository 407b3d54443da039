"""Reads the log that W&B keeps of a run on the disk, online and offline."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from lightning_losses.dashboards.record_log import read_records
from lightning_losses.dashboards.segment import SYSTEM, Image, Segment, Table

STEP = "trainer/global_step"
"""Where Lightning's WandbLogger keeps the step; W&B's own counts calls."""
OWN = ("_step", "_runtime", "_timestamp", "_wandb", STEP)
NOT_FINITE = {'"NaN"': float("nan"), '"Infinity"': float("inf"), '"-Infinity"': float("-inf")}


class _Item(Protocol):
    """A key and its value in one of W&B's records."""

    key: str
    nested_key: Iterable[str]
    value_json: str


def read_wandb(folder: Path) -> Segment:
    """Read ``run-*.wandb`` in a folder ``run-...`` or ``offline-run-...``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no log of W&B, or of a later one.
    """
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined] # made as protobuf needs it

    path = next(iter(sorted(folder.glob("run-*.wandb"))), None)
    if path is None:
        raise FileNotFoundError(f"There is no log of W&B in {folder}.")
    segment = Segment(path, has_ended=False)
    records, is_damaged = read_records(path)
    for data in records:
        try:
            record = Record.FromString(data)
        except DecodeError as error:
            raise ValueError(f"{path} holds a record that the installed wandb cannot read.") from error
        kind = record.WhichOneof("record_type")
        if kind == "history":
            _add_row(segment, record.history.item)
        elif kind == "stats":
            _add_system(segment, record.stats)
        elif kind == "config":
            _add_config(segment, record.config.update)
        elif kind == "run":
            segment.name, segment.run_id = record.run.display_name, record.run.run_id
            segment.start = _seconds(record.run.start_time)
            _add_config(segment, record.run.config.update)
        segment.has_ended |= kind == "exit"
    if is_damaged:
        segment.problems.append(f"{path.name} is damaged; what could not be read of it is left out.")
    return segment


def _add_row(segment: Segment, items: Iterable[_Item]) -> None:
    """One row of numbers, pictures and tables."""
    numbers: dict[str, float] = {}
    media: dict[str, dict[str, Any]] = {}
    for item in items:
        key, *rest = item.nested_key or [item.key]
        number = _number(item.value_json)
        if not rest and number is not None:
            numbers[key] = number
        elif len(rest) == 1:
            media.setdefault(key, {})[rest[0]] = json.loads(item.value_json)
        elif item.value_json.startswith("{"):
            media[key] = json.loads(item.value_json)
    step = numbers.get(STEP, numbers.get("_step", 0.0))
    for key, value in numbers.items():
        if key not in OWN:
            segment.add(key, step, value)
    for key, what in media.items():
        segment.images += _images(segment, key, int(step), what)
        if what.get("_type") == "table-file":
            segment.tables += _tables(segment, key, int(step), segment.source.parent / "files" / str(what.get("path")))


def _images(segment: Segment, key: str, step: int, what: Mapping[str, Any]) -> Iterable[Image]:
    """The files of one picture or a list of them, as far as they are still there."""
    names = {"images/separated": what.get("filenames", []), "image-file": [what.get("path")]}.get(what.get("_type", ""))
    for name in names or []:
        path = segment.source.parent / "files" / str(name)
        if path.is_file():
            yield Image(key, step, path)
        else:
            segment.problems.append(f"The picture {key} of step {step} is missing: {path}.")


def _tables(segment: Segment, key: str, step: int, path: Path) -> Iterable[Table]:
    """The table of a file, if it is still there and whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        yield Table(key, step, [str(column) for column in content["columns"]], [list(row) for row in content["data"]])
    except (OSError, ValueError, KeyError, TypeError):
        segment.problems.append(f"The table {key} of step {step} cannot be read: {path}.")


def _add_system(segment: Segment, stats: Any) -> None:
    seconds = _seconds(stats.timestamp) - segment.start
    for item in stats.item:
        number = _number(item.value_json)
        if number is not None:
            segment.add(SYSTEM + item.key, seconds, number)


def _add_config(segment: Segment, updates: Iterable[_Item]) -> None:
    for item in updates:
        *parents, key = item.nested_key or [item.key]
        if (parents or [key])[0] in OWN:
            continue
        place = segment.config
        for parent in parents:
            place = place.setdefault(parent, {})
        place[key] = json.loads(item.value_json)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return NOT_FINITE.get(text)


def _seconds(timestamp: Any) -> float:
    return float(timestamp.seconds + timestamp.nanos / 1e9)
