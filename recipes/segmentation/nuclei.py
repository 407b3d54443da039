"""Cell nuclei of the 2018 Data Science Bowl: microscopy of several kinds, one mask per nucleus."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np

from lightning_losses.checks import message
from lightning_losses.recipes.files import read_image

from .images import ImageData, Pair, as_pair
from .labels import check_size, read_labels
from .splits import split_names

LAYOUT = "a zip or folder of stage1_train/ID/{images,masks}/*.png"

Files = dict[str, dict[str, list[str]]]
"""By id, then ``"images"`` or ``"masks"``: names of files."""


class Nuclei(ImageData):
    """Nuclei against the rest, 2 classes: the union of an image's masks is its foreground.

    Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl", Nature Methods 2019.
    Test are the ids at index 0, 5, 10, ... of all sorted ids, stained tissue among them; validation is taken out of
    the rest by the rule of `split_names`.

    Args:
        root: the zip as it was downloaded, or a folder that it was unpacked to.
        vertical_flip: whether up and down may be exchanged, as they may under a microscope.
        options: those of `ImageData`.
    """

    num_classes = 2

    def __init__(self, root: str, vertical_flip: bool = True, **options: Any) -> None:
        super().__init__(vertical_flip=vertical_flip, **options)
        self.root = Path(root)

    def read(self, split: str) -> list[Pair]:
        """The images of a split and their foreground."""
        if is_zipfile(self.root):
            with ZipFile(self.root) as archive:
                return self._read_all(split, archive.namelist(), archive.read)
        if self.root.is_dir():
            names = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*.png"))
            return self._read_all(split, names, lambda name: (self.root / name).read_bytes())
        raise FileNotFoundError(message("data.root", LAYOUT, str(self.root)))

    def _read_all(self, split: str, names: Iterable[str], content: Callable[[str], bytes]) -> list[Pair]:
        files = by_id(names)
        if not files:
            raise ValueError(message("data.root", LAYOUT, str(self.root)))
        chosen = [files[image_id] for image_id in split_names(files)[split]]
        return self.read_each(chosen, lambda kinds: read_nuclei(kinds["images"][0], kinds["masks"], content), split)


def by_id(names: Iterable[str]) -> Files:
    """The files of each image, by its id; names that do not fit the layout are passed over.

    Raises:
        FileNotFoundError: masks without an image, or an image without masks.

    >>> by_id(["stage1_train/a/images/a.png", "stage1_train/a/masks/1.png", "README"])
    {'a': {'images': ['stage1_train/a/images/a.png'], 'masks': ['stage1_train/a/masks/1.png']}}
    """
    files: Files = defaultdict(lambda: {"images": [], "masks": []})
    for name in sorted(names):
        *_, image_id, kind, file = ("", "", *PurePosixPath(name).parts)
        if kind in ("images", "masks") and file.endswith(".png") and file[0] != ".":
            files[image_id][kind].append(name)
    for image_id, kinds in files.items():
        for kind, found in kinds.items():
            if not found:
                raise FileNotFoundError(message(f"{image_id}/{kind}", "a folder of .png files", "none"))
    return dict(files)


def read_nuclei(image_name: str, mask_names: list[str], content: Callable[[str], bytes]) -> Pair:
    """An image, and 1 where any of its masks is not 0."""
    image = read_image(image_name, content(image_name))
    foreground = np.zeros(image.shape[:2], dtype=bool)
    for name in mask_names:
        labels = read_labels(name, content(name))
        check_size(name, labels, image)
        foreground |= labels > 0
    return as_pair(image, foreground)
