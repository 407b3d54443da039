"""Images with label maps, read once into memory, and their augmentation."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_losses.checks import check_number
from lightning_losses.recipes.data import SplitData
from lightning_losses.recipes.sampling import Draw, seeded

T = TypeVar("T")

Pair = tuple[Tensor, Tensor]
"""(image [3, H, W], mask [H, W]), both uint8."""


def as_pair(image: NDArray[np.uint8], labels: NDArray[Any]) -> Pair:
    """From [H, W, 3] and [H, W] as files hold them."""
    return torch.from_numpy(image).permute(2, 0, 1).contiguous(), torch.from_numpy(labels.astype(np.uint8))


class LabelledImages(Dataset[Pair]):
    """Pairs in memory, augmented by a pure function of (seed, epoch, index).

    Args:
        pairs: images and their label maps.
        transform: of torchvision's v2, or None.
        seed: of the augmentation.
    """

    def __init__(self, pairs: Sequence[Pair], transform: v2.Transform | None = None, seed: int = 0) -> None:
        self.pairs = pairs
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Draw | int) -> Pair:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        image, mask = self.pairs[index]
        if self.transform is not None:
            with seeded(self.seed, epoch, index):
                image, mask = self.transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return image.as_subclass(Tensor), mask.as_subclass(Tensor).long()


def augmentation(
    size: tuple[int, int], *, min_scale: float = 0.5, vertical_flip: bool = False, jitter: float = 0.2
) -> v2.Transform:
    """Random crops resized to one size, flips and changes of light.

    Args:
        size: (height, width) of what comes out.
        min_scale: the smallest share of the image's area that is cropped; 1 for all of it.
        vertical_flip: whether up and down may be exchanged, as under a microscope but not in a street.
        jitter: by how much brightness, contrast and saturation change at most; 0 for not at all.
    """
    steps: list[Any] = [v2.RandomResizedCrop(size, scale=(min_scale, 1.0), ratio=(0.8, 1.25), antialias=True)]
    steps += [v2.RandomHorizontalFlip(), *[v2.RandomVerticalFlip()] * vertical_flip]
    if jitter:
        steps.append(v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter))
    return v2.Compose(steps)


class ImageData(SplitData):
    """Images of a subclass's `read`, augmented in training; validation and test see them whole and as they are.

    Args:
        size: (height, width) of a training sample, which is a random crop resized.
        min_scale: the smallest share of an image's area that is cropped.
        vertical_flip: whether up and down may be exchanged.
        jitter: by how much brightness, contrast and saturation change at most.
        eval_batch_size: of validation and test; 1 where images differ in size.
        options: those of `SplitData`.
    """

    def __init__(
        self,
        size: tuple[int, int] = (256, 256),
        min_scale: float = 0.5,
        vertical_flip: bool = False,
        jitter: float = 0.2,
        eval_batch_size: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(eval_batch_size=eval_batch_size, **options)
        check_number("data.min_scale", min_scale, above=0, at_most=1)
        check_number("data.jitter", jitter, at_least=0, at_most=1)
        self.transform = augmentation(size, min_scale=min_scale, vertical_flip=vertical_flip, jitter=jitter)

    @abstractmethod
    def read(self, split: str) -> list[Pair]:
        """The images and label maps of a split."""

    def read_each(self, files: Sequence[T], read: Callable[[T], Pair], split: str) -> list[Pair]:
        """What `read` makes of each of the files, with a progress bar meanwhile."""
        silent = self.trainer is not None and not self.trainer.is_global_zero
        pairs = []
        with Progress(disable=silent) as bar:  # closed at once by an error, which an abandoned generator would not be
            task = bar.add_task(f"Reading {split} images", total=len(files))
            for file in files:
                pairs.append(read(file))
                bar.advance(task)
        return pairs

    def make(self, split: str) -> LabelledImages:
        """The data set of a split."""
        return LabelledImages(self.read(split), self.transform if split == "train" else None, self.seed)
