"""Pascal VOC: one XML file for each image."""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lightning_losses.checks import nearest

from .assignment import uncounted
from .boxes import Annotation

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class AnnotationError(ValueError):
    """An annotation that cannot be read; the message names file and line."""


def read_voc(file: Path, images: Path, class_names: Sequence[str]) -> Annotation:
    """The annotation of one image; what is marked as difficult is `uncounted`.

    Args:
        file: the XML file.
        images: the folder of the image that its `filename` names.
        class_names: a name that is not among them is an error.

    Raises:
        AnnotationError: it is no XML, lacks something, or names an unknown class; the message names file and line.
    """
    voc = _Document(file)
    boxes, labels = [], []
    for found in voc.root.iterfind("object"):
        name = voc.text(found, "name")
        if name not in class_names:
            raise voc.error(found, f"there is no class {name!r}. {nearest(name, class_names)}")
        boxes.append([voc.number(found, f"bndbox/{corner}") for corner in CORNERS])
        label = class_names.index(name)
        labels.append(uncounted(label) if found.findtext("difficult", "0").strip() == "1" else label)
    size = (int(voc.number(voc.root, "size/height")), int(voc.number(voc.root, "size/width")))
    return Annotation.of(images / voc.text(voc.root, "filename"), size, boxes, labels)


class _Document:
    """An XML file that knows the line of each of its elements."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[Element, int] = {}
        builder = TreeBuilder()
        parser = expat.ParserCreate()

        def start(tag: str, attributes: dict[str, str]) -> None:
            self.lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

        parser.StartElementHandler = start
        parser.EndElementHandler = builder.end
        parser.CharacterDataHandler = builder.data
        try:
            parser.Parse(file.read_bytes(), True)
        except expat.ExpatError as error:
            raise AnnotationError(f"{file}, line {error.lineno}: {expat.ErrorString(error.code)}.") from error
        self.root: Element = builder.close()

    def text(self, node: Element, path: str) -> str:
        return self._leaf(node, path)[1]

    def number(self, node: Element, path: str) -> float:
        leaf, text = self._leaf(node, path)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(leaf, f"<{path}> must be a number, found {text!r}.")
        return value

    def error(self, node: Element, text: str) -> AnnotationError:
        return AnnotationError(f"{self.file}, line {self.lines[node]}: {text}")

    def _leaf(self, node: Element, path: str) -> tuple[Element, str]:
        leaf = node.find(path)
        text = "" if leaf is None else (leaf.text or "").strip()
        if leaf is None or not text:
            raise self.error(node, f"<{node.tag}> has no <{path}>.")
        return leaf, text
