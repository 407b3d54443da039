"""Reading images from files; what is wrong with one is said in one line that names it."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lightning_losses.checks import message


def require_folder(parameter: str, path: Path) -> Path:
    """`path`, if it is a folder.

    Raises:
        FileNotFoundError: it is none.
    """
    if not path.is_dir():
        raise FileNotFoundError(message(parameter, "a folder that exists", str(path)))
    return path


UNREAD = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError)
DEEP = ("I", "F")  # how Pillow's names begin of formats with more than 8 bits per channel, which it would clip to 8


def open_image(name: str, content: bytes) -> Image.Image:
    """The image in a file's content, decoded; `name` is for the error.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        picture = Image.open(BytesIO(content))
        picture.load()
    except UNREAD as error:
        raise ValueError(message(name, "an image that can be read", str(error))) from error
    return picture


def read_image(name: str, content: bytes) -> NDArray[np.uint8]:
    """The same as RGB [H, W, 3].

    Raises:
        ValueError: it cannot be read, or has more than 8 bits per channel.
    """
    picture = open_image(name, content)
    if picture.mode.startswith(DEEP):
        raise ValueError(message(name, "an image of 8 bits per channel: convert it", f"mode {picture.mode}"))
    return np.array(picture.convert("RGB"))
