"""Images as others have published them, in a folder or fetched by torchvision."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from torchvision.datasets import CIFAR10

from lightning_losses.checks import check_number, message
from lightning_losses.recipes import idx

from .data import ImageData, LabelledImages, held_out


class Published(ImageData):
    """Training and test images; validation takes the last of the training images, which are then not trained on.

    Args:
        root: their folder.
        size: side length that images are resized to.
        download: whether to fetch them into `root` by torchvision if they are not there.
        val_images: how many training images are held out.
        options: those of `ImageData`.
    """

    def __init__(self, root: str, size: int, download: bool = False, val_images: int = 5000, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.size = int(check_number("data.size", size, at_least=8))
        self.download = download
        self.val_images = val_images

    @abstractmethod
    def fetch(self) -> None:
        """Download them."""

    @abstractmethod
    def read(self, split: str) -> LabelledImages:
        """Those of a split; for ``"val"`` all that are for training."""

    def prepare_data(self) -> None:
        """Download, if asked to."""
        if self.download:
            self.fetch()

    def make(self, split: str) -> LabelledImages:
        """The images of a split."""
        found = self.read(split).resized(self.size)
        return found if split == "test" else held_out(found, split, self.val_images)


class IdxFolder(Published):
    """MNIST and its relatives (Fashion-MNIST, KMNIST): four IDX files in a folder.

    Args:
        root: the folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
            ``t10k-labels-idx1-ubyte``, each as it is or with ``.gz``.
        size: side length that images are resized to, MNIST's own by default.
        options: those of `Published`.
    """

    def __init__(self, root: str, size: int = 28, **options: Any) -> None:
        super().__init__(root, size, **options)

    def fetch(self) -> None:
        """MNIST."""
        idx.download(self.root)

    def read(self, split: str) -> LabelledImages:
        """From the files."""
        images, labels = idx.labelled_images(self.root, split)
        return LabelledImages(images.unsqueeze(1), labels)


class Cifar10(Published):
    """The 32x32 colour images of CIFAR-10.

    Args:
        root: the folder of ``cifar-10-batches-py``.
        size: side length that images are resized to, CIFAR-10's own by default.
        options: those of `Published`.
    """

    def __init__(self, root: str, size: int = 32, **options: Any) -> None:
        super().__init__(root, size, **options)

    def fetch(self) -> None:
        """All of it."""
        CIFAR10(str(self.root), download=True)

    def read(self, split: str) -> LabelledImages:
        """As torchvision reads it."""
        try:
            found = CIFAR10(str(self.root), train=split != "test")
        except RuntimeError as error:
            rule = "the folder of cifar-10-batches-py, as CIFAR-10 is published (data.download=true fetches it)"
            raise FileNotFoundError(message("data.root", rule, str(self.root))) from error
        images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        return LabelledImages(images, torch.tensor(found.targets))
