"""`lightning-losses advise DATA`: which loss fits these targets."""

import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_losses.config import ConfigError

TASKS = "classification, multilabel, ordinal, regression, segmentation, detection, ranking or metric"
DATA = (
    "targets: .npy, .npz, .pt, .csv, an IDX file of labels, a folder of masks (.png), a folder of Pascal VOC's "
    "annotations, or COCO's .json"
)
WIDTH = 100


def add_arguments(parser: ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("data", metavar="DATA", help=DATA)
    parser.add_argument("--task", help=f"{TASKS}; may be left out where DATA gives it away")
    parser.add_argument(
        "--predictions", metavar="FILE", help="a table of predictions for held-out data, or a column of DATA"
    )
    parser.add_argument(
        "--column", action="append", default=[], help="of a table, the targets; several times for several outputs"
    )
    parser.add_argument("--group", metavar="COLUMN", help="of a table, the query that an item belongs to")
    parser.add_argument("--num-classes", type=int, metavar="C", help="how many classes, if some may not occur")
    parser.add_argument("--ignore-index", type=int, metavar="I", help="the label of what does not count")
    parser.add_argument("--binary", action="store_true", help="masks are 0, or anything else for the foreground")
    parser.add_argument("--annotators", action="store_true", help="columns are the labels of several annotators")
    parser.add_argument("--intervals", type=float, nargs="+", metavar="Q", help="quantiles to predict beside a number")
    parser.add_argument("--out", metavar="FILE", help="where to write the proposal, as YAML")


def show(given: Namespace) -> int:
    """Print the report and, with --out, write the proposal."""
    from lightning_losses.advise import advise, reading

    out, path = Path(given.out) if given.out else None, Path(given.data)
    if out is not None and out.exists():
        raise ConfigError(f"{given.out!r} exists already, and nothing is overwritten: give a new file.")
    data = reading.read(
        path, given.column, given.group, ignore_index=given.ignore_index, binary=given.binary, track=_with_progress
    )
    task = given.task or data.task
    if task is None:
        raise ConfigError(f"--task must be given: {TASKS}")
    if data.names and task in ("regression", "multilabel"):
        raise ConfigError(f"{task} needs numbers, found words such as {data.names[0]!r}.")
    advice = advise(
        data.targets,
        task,
        reading.read_predictions(given.predictions, path) if given.predictions else None,
        num_classes=given.num_classes,
        ignore_index=given.ignore_index,
        annotators=given.annotators,
        intervals=given.intervals,
    )
    if data.names:
        print("Classes: " + ", ".join(f"{index} {name}" for index, name in enumerate(data.names)))
    print(advice.text(min(shutil.get_terminal_size().columns, WIDTH)))
    if out is not None:
        out.write_text(advice.yaml(), encoding="utf-8")
        print(f"\nWritten to {out}.")
    return 0


def _with_progress(files: Sequence[Path]) -> Iterator[Path]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(files, "Reading", console=console, transient=True, disable=not console.is_terminal)
