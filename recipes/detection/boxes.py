"""Annotations as they are, and as they can be learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

NAMED = 3  # files with dropped boxes in the message


@dataclass(frozen=True)
class Annotation:
    """What is in an image.

    Args:
        image: its file.
        size: its (height, width) in pixels.
        boxes: (x1, y1, x2, y2) in pixels, [K, 4]; K may be 0.
        labels: classes from 0, `uncounted` for what is neither learnt nor counted, [K].
    """

    image: Path
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]

    @classmethod
    def of(
        cls, image: Path, size: tuple[int, int], boxes: Sequence[Sequence[float]], labels: Sequence[int]
    ) -> "Annotation":
        """From lists, as files hold them."""
        corners = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        return cls(image, size, corners, np.asarray(labels, dtype=np.int64))


def usable(annotations: Sequence[Annotation], what: str) -> list[Annotation]:
    """The same with boxes clipped to their images, and without those of which no area is left.

    How many were dropped is said in one warning; an image may keep none.

    Args:
        annotations: any number of them.
        what: they are, for the warning.
    """
    cleaned = [_clipped(annotation) for annotation in annotations]
    missing = {
        before.image: len(before.labels) - len(after.labels)
        for before, after in zip(annotations, cleaned, strict=True)
        if len(after.labels) < len(before.labels)
    }
    if missing:
        named = ", ".join(image.name for image in list(missing)[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        total = sum(len(annotation.labels) for annotation in annotations)
        count = f"{sum(missing.values())} of {total} boxes"
        rank_zero_warn(f"Dropped {count} of {what} that have no area inside their image ({named}).")
    return cleaned


def _clipped(annotation: Annotation) -> Annotation:
    height, width = annotation.size
    boxes = annotation.boxes.clip(0, np.array([width, height, width, height], dtype=np.float32))
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return replace(annotation, boxes=boxes[kept], labels=annotation.labels[kept])
