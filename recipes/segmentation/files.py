"""Reading images and label maps; what is wrong with a file is said in one line that names it."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lightning_losses.checks import message

Pixels = NDArray[Any]

LABEL_MODES = ("1", "L", "P", "I", "I;16")  # Pillow's names of the formats that hold one integer per pixel


def require_folder(parameter: str, path: Path) -> Path:
    """`path`, if it is a folder.

    Raises:
        FileNotFoundError: it is none.
    """
    if not path.is_dir():
        raise FileNotFoundError(message(parameter, "a folder that exists", str(path)))
    return path


def read_image(name: str, content: bytes) -> NDArray[np.uint8]:
    """An image as RGB [H, W, 3]; `name` is for the error.

    Raises:
        ValueError: it cannot be read.
    """
    return np.array(_open(name, content).convert("RGB"))


def read_labels(name: str, content: bytes) -> Pixels:
    """A label map [H, W] of integers, as they stand in the file; a palette is not looked up.

    Raises:
        ValueError: it cannot be read, or has several channels.
    """
    picture = _open(name, content)
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


def _open(name: str, content: bytes) -> Image.Image:
    try:
        picture = Image.open(BytesIO(content))
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(message(name, "an image that can be read", str(error))) from error
    return picture
