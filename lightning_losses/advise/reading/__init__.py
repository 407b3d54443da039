"""Targets in files: tables, IDX files, folders of masks, annotations of boxes."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lightning_losses.advise.reading import annotations, pictures, tables
from lightning_losses.advise.reading.data import Data
from lightning_losses.checks import message

__all__ = ["Data", "read", "read_predictions"]

Track = Callable[[Sequence[Path]], Iterable[Path]]
"""Hands out the files one by one; a progress bar does more."""


def read(
    path: Path,
    columns: Sequence[str] = (),
    group: str | None = None,
    *,
    ignore_index: int | None = None,
    binary: bool = False,
    track: Track = iter,
) -> Data:
    """The targets in a file or folder, and the task that its form gives away.

    Args:
        path: a table (.npy, .npz, .pt, .csv), an IDX file of labels, a folder of masks (.png), a folder of Pascal VOC's
            annotations (.xml), or COCO's (.json).
        columns: of a table, those that are the targets.
        group: of a table, the column that says which query an item belongs to.
        ignore_index: the label of pixels that do not count.
        binary: masks are 0 for the background and anything else for the foreground.
        track: is handed the files where there are many.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is of another format, or its content is.
    """
    if path.is_dir():
        files, is_masks = _files(path)
        if is_masks:
            return pictures.read_masks(track(files), ignore_index, binary)
        return annotations.read_voc(track(files))
    if not path.is_file():
        raise FileNotFoundError(message("DATA", "a file or a folder that exists", str(path)))
    if path.suffix == ".json":
        return annotations.read_coco(path)
    return tables.read(path, columns, group)


def read_predictions(name: str, data: Path) -> object:
    """Predictions in a table of their own, or in a column of the table of the targets."""
    if Path(name).is_file():
        return tables.read_all(Path(name))
    if data.is_file() and name in tables.names(data):
        return tables.read(data, [name]).targets
    raise FileNotFoundError(message("--predictions", f"a file that exists, or a column of {data.name}", name))


def _files(folder: Path) -> tuple[list[Path], bool]:
    """The masks or annotations of a folder, or of the subfolder in which they usually are; whether they are masks."""
    for place, ending in ((".", "png"), ("masks", "png"), (".", "xml"), ("Annotations", "xml")):
        files = sorted((folder / place).glob(f"*.{ending}"))
        if files:
            return files, ending == "png"
    raise ValueError(message("DATA", "a folder of masks (.png) or of Pascal VOC's annotations (.xml)", str(folder)))
