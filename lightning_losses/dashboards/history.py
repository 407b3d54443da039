"""What a run has logged, read back from its files."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_losses.dashboards.csv_log import FILE, read_csv
from lightning_losses.dashboards.segment import Image, Segment, Series, Table, continued, join, join_images, join_tables
from lightning_losses.dashboards.wandb_log import read_wandb

CONFIG, RESULT = "config.yaml", "result.json"

__all__ = ["History", "Image", "Series", "Table", "read"]


@dataclass(frozen=True)
class History:
    """A run as its files tell it.

    Args:
        name: of its folder.
        config: what was trained; nested mappings.
        series: the numbers, by key.
        images: in the order in which they were logged.
        tables: likewise.
        result: `result.json` of a finished `lightning-losses fit`: metrics, reference, minutes, hardware, versions and
            command; empty for a run that is not finished, or not of that command.
        problems: what is missing, in sentences.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict)
    images: Sequence[Image] = ()
    tables: Sequence[Table] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[str] = ()


def read(run_dir: Path | str) -> History:
    """Read a run's log: W&B's or the CSVLogger's, whichever holds more.

    A run that was resumed has a log for each start, and they are joined. Outside of the folders of `lightning-losses
    fit`, each of which holds one run, a log goes on from the one before if it begins at a later step.

    Args:
        run_dir: the folder of a run, or one that a logger has made in it: ``offline-run-...`` of W&B, ``version_0`` of
            a CSVLogger.

    Raises:
        FileNotFoundError: there is no such folder, or no log in it.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(run_dir)!r}.")
    problems: list[str] = []
    config = _mapping(folder / CONFIG, yaml.safe_load, problems)
    logs = [
        _of_one_run(_segments(read_wandb, _wandb_folders(folder), problems), bool(config), problems),
        _of_one_run(_segments(read_csv, _csv_folders(folder), problems), bool(config), problems),
    ]
    if not any(logs):
        raise FileNotFoundError(" ".join([f"There is no log of W&B or of a CSVLogger in {folder}.", *problems]))
    log = max(logs, key=_count)  # of equals the first: W&B's, which has pictures and the machine's figures
    problems += [problem for segment in log for problem in segment.problems] + _truncation(log)
    return History(
        folder.resolve().name,
        config or log[-1].config,
        join(log),
        join_images(log) or join_images(logs[0]),
        join_tables(log) or join_tables(logs[0]),
        _mapping(folder / RESULT, json.loads, problems),
        problems,
    )


def _wandb_folders(folder: Path) -> list[Path]:
    """In the order of their starts, which their names begin with."""
    here = [folder] if any(folder.glob("run-*.wandb")) else []
    return here or sorted(
        (*folder.glob("*run-*"), *folder.glob("wandb/*run-*")), key=lambda path: path.name.partition("run-")[2]
    )


def _csv_folders(folder: Path) -> list[Path]:
    """The versions of one logger, in the order of their starts; of several loggers, the one that was last written."""
    if (folder / FILE).is_file():
        return [folder]
    tables = [*folder.glob(f"version_*/{FILE}"), *folder.glob(f"*/version_*/{FILE}")]
    if not tables:
        return []
    logger = max(tables, key=lambda path: path.stat().st_mtime).parent.parent
    return sorted((path.parent for path in tables if path.parent.parent == logger), key=_version)


def _version(folder: Path) -> tuple[int, str]:
    number = folder.name.removeprefix("version_")
    return (int(number) if number.isdecimal() else 0, number)


def _segments(reader: Callable[[Path], Segment], folders: Sequence[Path], problems: list[str]) -> list[Segment]:
    """Those that can be read."""
    segments = []
    for folder in folders:
        try:
            segments.append(reader(folder))
        except (OSError, ValueError) as error:
            problems.append(str(error))
    return segments


def _of_one_run(segments: list[Segment], is_one_run: bool, problems: list[str]) -> list[Segment]:
    kept = continued(segments, is_one_run)
    if len(kept) < len(segments):
        left_out = len(segments) - len(kept)
        problems.append(
            f"{left_out} earlier {'run is' if left_out == 1 else 'runs are'} left out; the folder shown is "
            f"{kept[-1].source.parent}."
        )
    return kept


def _count(log: Sequence[Segment]) -> int:
    return sum(segment.count for segment in log) if log else -1


def _truncation(log: Sequence[Segment]) -> list[str]:
    last_step = max(segment.last_step for segment in log)
    if last_step < 0:
        return ["Nothing is logged yet."]
    if log[-1].has_ended:
        return []
    return [f"The log is truncated after step {last_step:g}: the run was killed, or is still going."]


def _mapping(path: Path, parse: Callable[[str], Any], problems: list[str]) -> dict[str, Any]:
    """A file's mapping; empty where there is no such file, or none that can be read."""
    try:
        values = parse(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        problems.append(f"{path} cannot be read: {' '.join(str(error).split())}.")
        return {}
    return values if isinstance(values, dict) else {}
