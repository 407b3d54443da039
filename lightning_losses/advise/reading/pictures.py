"""Masks as PNG files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lightning_losses.advise.reading.data import Data
from lightning_losses.advise.statistics import Array
from lightning_losses.checks import message

MODES = ("1", "L", "P", "I", "I;16")  # Pillow's names of the formats that hold one integer per pixel
USUALLY_IGNORED = 255


def read_masks(files: Iterable[Path], ignore_index: int | None = None, binary: bool = False) -> Data:
    """The masks, each read when it is asked for, so that memory holds one."""
    return Data((_read(file, ignore_index, binary) for file in files), "segmentation")


def _read(file: Path, ignore_index: int | None, binary: bool) -> Array:
    from PIL import Image, UnidentifiedImageError  # not among what the package needs elsewhere

    try:
        picture = Image.open(file)
        labels = np.array(picture)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(message(str(file), "an image that can be read", str(error))) from error
    if picture.mode not in MODES:
        raise ValueError(message(str(file), "a label map of one channel", f"mode {picture.mode}"))
    if binary:
        return np.where(labels == ignore_index, labels, labels > 0) if ignore_index is not None else labels > 0
    if labels.max() == USUALLY_IGNORED and ignore_index is None:
        rule = "of labels below 255: give --ignore-index 255 for pixels that do not count, or --binary for a foreground"
        raise ValueError(message(str(file), rule, USUALLY_IGNORED))
    return labels
