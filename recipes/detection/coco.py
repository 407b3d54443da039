"""COCO: one JSON file for all images."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_losses.checks import nearest

from .assignment import uncounted
from .boxes import Annotation
from .voc import AnnotationError


def read_coco(file: Path, images: Path, class_names: Sequence[str]) -> list[Annotation]:
    """The annotations of all images, in the order of the file; crowds are `uncounted`.

    Args:
        file: the JSON file.
        images: the folder of the images.
        class_names: the categories, in the order of their labels; one that is not among them is an error.

    Raises:
        AnnotationError: it is no JSON (the message names the line), lacks something or names something unknown (the
            message names the entry).
    """
    content = _load(file)
    names = {one["id"]: one["name"] for _, one in _entries(file, content, "categories", {"id": object, "name": str})}
    for name in names.values():
        if name not in class_names:
            raise AnnotationError(f"{file}, categories: there is no class {name!r}. {nearest(name, class_names)}")
    kinds = {"id": object, "file_name": str, "height": int, "width": int}
    shown = {one["id"]: one for _, one in _entries(file, content, "images", kinds)}
    found: dict[Any, tuple[list[list[float]], list[int]]] = {key: ([], []) for key in shown}
    for where, one in _entries(file, content, "annotations", {"image_id": object, "category_id": object, "bbox": list}):
        for key, known in (("image_id", shown), ("category_id", names)):
            if one[key] not in known:
                raise AnnotationError(f"{where}: there is no {key} {one[key]!r}.")
        boxes, labels = found[one["image_id"]]
        boxes.append(_corners(where, one["bbox"]))
        label = class_names.index(names[one["category_id"]])
        labels.append(uncounted(label) if one.get("iscrowd") else label)
    return [
        Annotation.of(images / image["file_name"], (image["height"], image["width"]), *found[key])
        for key, image in shown.items()
    ]


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{file}: is no text in UTF-8.") from error
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{file}, line {error.lineno}: {error.msg}.") from error
    if not isinstance(content, dict):
        raise AnnotationError(f"{file}, line 1: must hold images, annotations and categories.")
    return content


def _entries(file: Path, content: dict[str, Any], section: str, kinds: dict[str, type]) -> list[tuple[str, Any]]:
    """(where it stands, the entry) of a section, each with these keys and types."""
    if not isinstance(content.get(section), list):
        raise AnnotationError(f"{file}: there is no list {section!r}.")
    entries = []
    for index, entry in enumerate(content[section]):
        where = f"{file}, {section}[{index}]"
        for key, kind in kinds.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(key), kind) or entry[key] is None:
                raise AnnotationError(f"{where}: there is no {key!r} of the right type.")
        entries.append((where, entry))
    return entries


def _corners(where: str, bbox: list[Any]) -> list[float]:
    if len(bbox) != 4 or not all(isinstance(number, (int, float)) and math.isfinite(number) for number in bbox):
        raise AnnotationError(f"{where}: 'bbox' must be four numbers, found {bbox!r}.")
    x, y, width, height = bbox
    return [x, y, x + width, y + height]
