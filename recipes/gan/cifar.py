"""CIFAR-10 as it is published for Python."""

from pathlib import Path

import torch
from torchvision.datasets import CIFAR10

from lightning_losses.checks import check_number, message

from .data import ImageData, LabelledImages, held_out


class Cifar10(ImageData):
    """The 32x32 colour images of CIFAR-10.

    Validation takes the last of the training images, which are then not trained on.

    Args:
        root: the folder of ``cifar-10-batches-py``.
        download: whether to fetch it into `root` by torchvision if it is not there.
        val_images: how many training images are held out.
        size: side length that images are resized to, CIFAR-10's own by default.
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
        size: int = 32,
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
            CIFAR10(str(self.root), download=True)

    def make(self, split: str) -> LabelledImages:
        """The images of a split."""
        try:
            found = CIFAR10(str(self.root), train=split != "test")
        except RuntimeError as error:
            rule = "the folder of cifar-10-batches-py, as CIFAR-10 is published (data.download=true fetches it)"
            raise FileNotFoundError(message("data.root", rule, str(self.root))) from error
        images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        labelled = LabelledImages(images, torch.tensor(found.targets)).resized(self.size)
        return labelled if split == "test" else held_out(labelled, split, self.val_images)
