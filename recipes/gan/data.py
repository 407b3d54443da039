"""What the data sets of this recipe share: labelled images held in memory, and their loaders."""

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import resize

from lightning_losses.checks import check_number
from lightning_losses.recipes.data import SplitData
from lightning_losses.recipes.sampling import Draw


class Batch(NamedTuple):
    """Images; a sample is the same without the first dimension.

    Args:
        image: [N, C, S, S] of uint8.
        label: classes, [N]; the networks never see them, only the metrics.
        place: of the image in its data set, [N].
    """

    image: Tensor
    label: Tensor
    place: Tensor


class LabelledImages(Dataset[Batch]):
    """Images of a split; asked for a pair (epoch, index) or for an index.

    >>> images = LabelledImages(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.tensor([5, 0, 4]))
    >>> images[0, 2].label
    tensor(4)
    """

    def __init__(self, image: Tensor, label: Tensor) -> None:
        self.image = image
        self.label = label

    def resized(self, size: int) -> "LabelledImages":
        """The same at another side length."""
        if self.image.shape[-2:] == (size, size):
            return self
        return LabelledImages(resize(self.image, [size, size]), self.label)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, key: Draw | int) -> Batch:
        index = key[1] if isinstance(key, tuple) else key
        return Batch(self.image[index], self.label[index], torch.tensor(index))


class ImageData(SplitData):
    """Loaders of `Batch`; a subclass reads the images of a split.

    Args:
        batch_size: of training, on each device.
        eval_batch_size: of validation and test.
        options: those of `SplitData`.
    """

    def __init__(self, batch_size: int = 64, eval_batch_size: int = 500, **options: Any) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, **options)

    @abstractmethod
    def make(self, split: str) -> LabelledImages:
        """The images of ``"train"``, ``"val"`` or ``"test"``."""


def held_out(images: LabelledImages, split: str, count: int) -> LabelledImages:
    """Of training images those of ``"train"`` or, the last `count` of them, of ``"val"``.

    Raises:
        ValueError: `count` leaves nothing to train on.
    """
    check_number("data.val_images", count, at_least=1, below=len(images))
    part = slice(-count, None) if split == "val" else slice(-count)
    return LabelledImages(images.image[part], images.label[part])
