"""Boxes in the formats of Pascal VOC and of COCO."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lightning_losses.advise.reading.data import Data
from lightning_losses.checks import message

ENDS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(files: Iterable[Path]) -> Data:
    """Pascal VOC: an XML file for each image. Classes are numbered by the order of their names."""
    images = [_read_voc(file) for file in files]
    names = sorted({name for image in images for name in image["labels"]})
    index = {name: label for label, name in enumerate(names)}
    return Data([image | {"labels": [index[name] for name in image["labels"]]} for image in images], "detection", names)


def _read_voc(file: Path) -> dict[str, Any]:
    try:
        root = ElementTree.parse(file).getroot()
        found = list(root.iterfind("object"))
        return {
            "boxes": [[float(_text(one, f"bndbox/{end}")) for end in ENDS] for one in found],
            "labels": [_text(one, "name") for one in found],
            "size": tuple(float(_text(root, f"size/{key}")) for key in ("height", "width")),
        }
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(message(str(file), "an annotation of Pascal VOC", str(error))) from error


def _text(node: ElementTree.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise ValueError(f"no {path}")
    return text


def read_coco(path: Path) -> Data:
    """COCO: one JSON file of images and annotations. Crowds are left out; an image may have no box."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: _empty(image) for image in content["images"]}
        categories = {category["id"]: category["name"] for category in content["categories"]}
        index = {key: label for label, key in enumerate(sorted(categories))}
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd"):
                x, y, width, height = annotation["bbox"]
                image = images[annotation["image_id"]]
                image["boxes"].append([x, y, x + width, y + height])
                image["labels"].append(index[annotation["category_id"]])
    except (KeyError, TypeError, ValueError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(message(str(path), "annotations of COCO", found)) from error
    targets = [image | {"boxes": np.array(image["boxes"]).reshape(-1, 4)} for image in images.values()]
    return Data(targets, "detection", [categories[key] for key in sorted(categories)])


def _empty(image: Mapping[str, Any]) -> dict[str, Any]:
    return {"boxes": [], "labels": [], "size": (image["height"], image["width"])}
