"""MNIST and its relatives (Fashion-MNIST, KMNIST): four IDX files in a folder."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import MNIST

from lightning_losses.checks import check_number, message
from lightning_losses.recipes.segmentation.files import require_folder

from .data import ImageData, LabelledImages, held_out

PREFIXES = {"train": "train", "val": "train", "test": "t10k"}
UNSIGNED_BYTES = 8


class IdxFolder(ImageData):
    """The images of a folder in MNIST's format.

    Validation takes the last of the training images, which are then not trained on.

    Args:
        root: the folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
            ``t10k-labels-idx1-ubyte``, each as it is or with ``.gz``.
        download: whether to fetch MNIST into `root` by torchvision if it is not there.
        val_images: how many training images are held out.
        size: side length that images are resized to, MNIST's own by default.
        batch_size: of training, on each device.
        eval_batch_size: of validation and test.
        num_workers: processes that prepare batches; 0 for none.
        seed: of the order of training samples.
    """

    def __init__(
        self,
        root: str,
        download: bool = False,
        val_images: int = 5000,
        size: int = 28,
        batch_size: int = 64,
        eval_batch_size: int = 500,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self.root = Path(root)
        self.download = download
        self.val_images = val_images
        self.size = int(check_number("data.size", size, at_least=8))

    def prepare_data(self) -> None:
        """Download, if asked to."""
        if self.download:
            MNIST(self.root, download=True)

    def make(self, split: str) -> LabelledImages:
        """The images of a split."""
        raw = self.root / "MNIST" / "raw"  # where torchvision puts them
        root = raw if raw.is_dir() else require_folder("data.root", self.root)
        images = read_idx(find(root, f"{PREFIXES[split]}-images-idx3-ubyte"), dimensions=3).unsqueeze(1)
        labels = read_idx(find(root, f"{PREFIXES[split]}-labels-idx1-ubyte"), dimensions=1).long()
        if len(images) != len(labels):
            raise ValueError(message(str(root), f"as many labels as {split} images ({len(images)})", len(labels)))
        found = LabelledImages(images, labels).resized(self.size)
        return found if split == "test" else held_out(found, split, self.val_images)


def find(root: Path, name: str) -> Path:
    """The file in `root`, plain or compressed.

    Raises:
        FileNotFoundError: there is neither; the message says what belongs there.
    """
    for file in (root / name, root / f"{name}.gz"):
        if file.is_file():
            return file
    rule = f"a folder with {name} or {name}.gz, as MNIST is published (data.download=true fetches it)"
    raise FileNotFoundError(message("data.root", rule, str(root)))


def read_idx(file: Path, dimensions: int) -> Tensor:
    """An IDX file of unsigned bytes, a uint8 tensor.

    Raises:
        ValueError: it is no such file, has another number of dimensions or another length than it says.
    """
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError) as error:
        raise ValueError(message(str(file), "a file that can be read", str(error))) from error
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, UNSIGNED_BYTES, dimensions)):
        rule = f"an IDX file of unsigned bytes with {dimensions} dimensions"
        raise ValueError(message(str(file), rule, content[:4].hex(" ")))
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        rule = f"of {math.prod(shape)} bytes after its head, for the shape {shape}"
        raise ValueError(message(str(file), rule, len(content) - start))
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
