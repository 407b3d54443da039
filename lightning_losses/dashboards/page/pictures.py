"""Pictures of runs inside the page: few, small, and as data."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_losses.dashboards.segment import Image

WIDEST = 1400
MOST = 6
"""Pictures of one key."""


@dataclass(frozen=True)
class Picture:
    """A picture on the page."""

    run: int
    key: str
    step: int
    data: str
    width: int
    height: int


def pictures(run: int, images: Sequence[Image]) -> list[Picture]:
    """Of every key the last picture and some before it, evenly spread; one that cannot be read is left out."""
    by_key: dict[str, list[Image]] = {}
    for image in images:
        by_key.setdefault(image.key, []).append(image)
    chosen = [image for its in by_key.values() for image in _spread(its)]
    return [picture for image in chosen if (picture := _picture(run, image)) is not None]


def _spread(images: Sequence[Image]) -> list[Image]:
    count = min(MOST, len(images))
    return [images[round((i + 1) * len(images) / count) - 1] for i in range(count)]


def _picture(run: int, image: Image) -> Picture | None:
    found = _small(image.path)
    return None if found is None else Picture(run, image.key, image.step, *found)


def _small(path: Path) -> tuple[str, int, int] | None:
    """A data URI of the picture, no wider than `WIDEST`, with its width and height."""
    from PIL import Image as Opened  # only what shows pictures waits for it

    try:
        with Opened.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Opened.DecompressionBombError):  # SyntaxError: a broken PNG
        return None
    picture.thumbnail((WIDEST, 4 * WIDEST))
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}", *picture.size
