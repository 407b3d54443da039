"""Your own images: a folder of them, and one of label maps."""

from pathlib import Path
from typing import Any

from torchvision.transforms.v2 import functional as F

from lightning_losses.checks import check_number, message
from lightning_losses.recipes.files import read_image, require_folder

from .images import ImageData, Pair, as_pair
from .labels import check_label_range, check_size, read_labels
from .splits import split_names

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


class ImageMaskFolder(ImageData):
    """``root/images/NAME.png`` (or .jpg, .tif, .bmp) with ``root/masks/NAME.png``, whose pixels are class indices.

    Without `val_root` and `test_root` the splits are taken out of `root` by the rule of `split_names`. Everything is
    kept in memory, in uint8.

    Args:
        root: folder of `images` and `masks`.
        num_classes: labels are 0..num_classes-1, at most 256.
        ignore_index: a label for pixels that do not count, at most 255.
        binary: masks are 0 where there is nothing and anything else (often 255) where there is something.
        val_root: a folder like `root`, for validation.
        test_root: a folder like `root`, for the test.
        resize: (height, width) that everything is resized to on reading, the test included; None for not at all.
        options: those of `ImageData`.
    """

    num_classes: int

    def __init__(
        self,
        root: str,
        num_classes: int,
        ignore_index: int | None = None,
        binary: bool = False,
        val_root: str | None = None,
        test_root: str | None = None,
        resize: tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.num_classes = int(check_number("data.num_classes", num_classes, at_least=2, at_most=256))
        if ignore_index is not None:
            check_number("data.ignore_index", ignore_index, at_most=255)
        self.ignore_index = ignore_index
        self.binary = binary
        self.root = Path(root)
        self.roots = {"val": val_root, "test": test_root}
        self.resize = resize

    def read(self, split: str) -> list[Pair]:
        """The images and label maps of a split."""
        return self.read_each(self._pairs(split), lambda pair: self._read_pair(*pair), split)

    def _pairs(self, split: str) -> list[tuple[Path, Path]]:
        own = self.roots.get(split)
        if own is not None:
            return list(find_pairs(f"data.{split}_root", Path(own)).values())
        pairs = find_pairs("data.root", self.root)
        names = split_names(pairs, held_out=[name for name, root in self.roots.items() if root is None])
        return [pairs[name] for name in names[split]]

    def _read_pair(self, image_path: Path, mask_path: Path) -> Pair:
        image = read_image(str(image_path), image_path.read_bytes())
        labels = read_labels(str(mask_path), mask_path.read_bytes())
        check_size(str(mask_path), labels, image)
        if self.binary:
            labels = labels > 0
        check_label_range(str(mask_path), labels, self.num_classes, self.ignore_index)
        pair = as_pair(image, labels)
        if self.resize is None:
            return pair
        return F.resize_image(pair[0], self.resize), F.resize_mask(pair[1], self.resize)


def find_pairs(parameter: str, root: Path) -> dict[str, tuple[Path, Path]]:
    """The images and masks of a folder by name, sorted.

    Raises:
        FileNotFoundError: a folder or a mask is missing.
        ValueError: there are no images.
    """
    images = require_folder(parameter, require_folder(parameter, root) / "images")
    masks = require_folder(parameter, root / "masks")
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in ENDINGS and path.name[0] != ".")
    if not found:
        raise ValueError(message(str(images), f"a folder of images ({', '.join(ENDINGS)})", "none"))
    pairs: dict[str, tuple[Path, Path]] = {}
    for path in found:
        if path.stem in pairs:
            rule = "a folder with one image of each name, whatever its ending"
            raise ValueError(message(str(images), rule, f"{pairs[path.stem][0].name} and {path.name}"))
        pairs[path.stem] = (path, masks / f"{path.stem}.png")
    for image, mask in pairs.values():
        if not mask.is_file():
            raise FileNotFoundError(message(str(mask), f"the mask of {image.name}", "no such file"))
    return pairs
