"""Label maps: reading them, and what they must be; what is wrong with a file is said in one line that names it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_losses.checks import message
from lightning_losses.recipes.files import open_image

Pixels = NDArray[Any]

LABEL_MODES = ("1", "L", "P", "I", "I;16")  # Pillow's names of the formats that hold one integer per pixel


def read_labels(name: str, content: bytes) -> Pixels:
    """A label map [H, W] of integers, as they stand in the file; a palette is not looked up.

    Raises:
        ValueError: it cannot be read, or has several channels.
    """
    picture = open_image(name, content)
    if picture.mode not in LABEL_MODES:
        raise ValueError(message(name, "a label map of one channel", f"mode {picture.mode}"))
    return np.array(picture)


def check_size(name: str, labels: Pixels, image: Pixels) -> None:
    """The label map must have the size of its image.

    Raises:
        ValueError: it has another.
    """
    if labels.shape != image.shape[:2]:
        raise ValueError(message(name, f"of the size {image.shape[:2]} of its image", labels.shape))


def check_label_range(name: str, labels: Pixels, num_classes: int, ignore_index: int | None) -> None:
    """Labels must lie in 0..num_classes-1 or be `ignore_index`.

    Raises:
        ValueError: one does not; the message names the largest.
    """
    counted = labels if ignore_index is None else labels[labels != ignore_index]
    if counted.size and int(counted.max()) >= num_classes:
        rule = f"a label map of 0..{num_classes - 1} (num_classes={num_classes}, ignore_index={ignore_index})"
        raise ValueError(message(name, rule, int(counted.max())))
