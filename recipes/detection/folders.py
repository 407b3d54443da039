"""Your own images, annotated as Pascal VOC or as COCO."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_losses.checks import message
from lightning_losses.recipes.files import require_folder

from .boxes import Annotation
from .coco import read_coco
from .images import ImageData
from .voc import read_voc


class VocFolder(ImageData):
    """``root/JPEGImages``, ``root/Annotations/NAME.xml``, and names of images in ``root/ImageSets/Main/SPLIT.txt``.

    Args:
        root: the folder.
        class_names: the classes, in the order of their labels.
        train: files of names, without their ending, to train on.
        val: the same for validation.
        test: the same for the test.
        options: those of `ImageData`.
    """

    def __init__(
        self,
        root: str,
        class_names: Sequence[str],
        train: Sequence[str] = ("train",),
        val: Sequence[str] = ("val",),
        test: Sequence[str] = ("test",),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.splits = {"train": train, "val": val, "test": test}

    def read(self, split: str) -> list[Annotation]:
        """The annotations of a split."""
        folders = [require_folder("data.root", self.root / name) for name in ("JPEGImages", "Annotations")]
        names = [name for part in self.splits[split] for name in self._names(split, part)]
        files = [_require_file(f"data.{split}", folders[1] / f"{name}.xml") for name in names]
        return [read_voc(file, folders[0], self.class_names) for file in files]

    def _names(self, split: str, part: str) -> list[str]:
        file = _require_file(f"data.{split}", self.root / "ImageSets" / "Main" / f"{part}.txt")
        return [line.strip() for line in file.read_text().splitlines() if line.strip()]


class CocoFiles(ImageData):
    """A JSON file of annotations and a folder of images for each split.

    Args:
        root: the folder that the other paths are in.
        class_names: the categories, in the order of their labels.
        train: (annotations, images) to train on, for example
            ``["annotations/instances_train2017.json", "train2017"]``.
        val: the same for validation.
        test: the same for the test.
        keep: whether images stay in memory once they are read; COCO has too many.
        options: those of `ImageData`.
    """

    def __init__(
        self,
        root: str,
        class_names: Sequence[str],
        train: tuple[str, str],
        val: tuple[str, str],
        test: tuple[str, str],
        keep: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keep=keep, **options)
        self.root = Path(root)
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.splits = {"train": train, "val": val, "test": test}

    def read(self, split: str) -> list[Annotation]:
        """The annotations of a split."""
        annotations, images = self.splits[split]
        file = _require_file(f"data.{split}", self.root / annotations)
        return read_coco(file, require_folder(f"data.{split}", self.root / images), self.class_names)


def _require_file(parameter: str, path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(message(parameter, "a file that exists", str(path)))
    return path
