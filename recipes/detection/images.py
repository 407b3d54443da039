"""Images with boxes, from files."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_losses.checks import check_number, message
from lightning_losses.recipes.data import SplitData
from lightning_losses.recipes.files import read_image
from lightning_losses.recipes.sampling import Draw, seeded

from .boxes import Annotation, usable
from .data import Batch, sample


class BoxedImages(Dataset[Batch]):
    """Annotated images, brought to one size and augmented by a pure function of (seed, epoch, index).

    Args:
        annotations: what is in each of them.
        size: (height, width) that an image is fitted into, its shape kept and the rest black.
        augmentation: of torchvision's v2, or None.
        keep: whether images stay in memory once they are read, in the size that they are used in.
        seed: of the augmentation.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        size: tuple[int, int],
        augmentation: v2.Transform | None = None,
        keep: bool = True,
        seed: int = 0,
    ) -> None:
        self.annotations = annotations
        self.size = size
        self.augmentation = augmentation
        self.keep = keep
        self.seed = seed
        self.most = max((len(annotation.labels) for annotation in annotations), default=0)
        self._images: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, key: Draw | int) -> Batch:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        annotation = self.annotations[index]
        image = self._fitted(index)
        boxes = torch.from_numpy(annotation.boxes) * scale(annotation.size, self.size)
        labels = torch.from_numpy(annotation.labels)
        if self.augmentation is not None:
            framed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=self.size)
            with seeded(self.seed, epoch, index):
                image, boxes = self.augmentation(tv_tensors.Image(image), framed)
        return sample(image.as_subclass(Tensor), boxes.as_subclass(Tensor), labels, self.most)

    def _fitted(self, index: int) -> Tensor:
        if index in self._images:
            return self._images[index]
        image = fit(_read(self.annotations[index]), self.size)
        if self.keep:
            self._images[index] = image
        return image


def scale(size: tuple[int, int], into: tuple[int, int]) -> float:
    """By how much an image of one (height, width) is enlarged to fit into another.

    >>> scale((480, 640), into=(240, 400))
    0.5
    """
    return min(into[0] / size[0], into[1] / size[1])


def fit(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image [3, H, W] resized to fit into `size`, in the upper left corner of it.

    >>> fit(torch.ones(3, 4, 8), (4, 4)).shape
    torch.Size([3, 4, 4])
    """
    factor = scale((image.shape[-2], image.shape[-1]), size)
    height, width = (max(1, round(side * factor)) for side in image.shape[-2:])
    resized: Tensor = v2.functional.resize(image, [height, width], antialias=True)
    return torch.nn.functional.pad(resized, (0, size[1] - width, 0, size[0] - height))


def augmentation(*, vertical_flip: bool, jitter: float) -> v2.Transform:
    """Flips, and changes of light.

    Args:
        vertical_flip: whether up and down may be exchanged, as under a microscope but not in a street.
        jitter: by how much brightness, contrast and saturation change at most; 0 for not at all.
    """
    steps: list[Any] = [v2.RandomHorizontalFlip(), *[v2.RandomVerticalFlip()] * vertical_flip]
    if jitter:
        steps.append(v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter))
    return v2.Compose(steps)


class ImageData(SplitData):
    """Annotated images of a subclass's `read`, augmented in training.

    Args:
        size: (height, width) that images are fitted into.
        vertical_flip: whether up and down may be exchanged.
        jitter: by how much brightness, contrast and saturation change at most.
        keep: whether images stay in memory once they are read.
        options: those of `SplitData`.
    """

    def __init__(
        self,
        size: tuple[int, int] = (240, 320),
        vertical_flip: bool = False,
        jitter: float = 0.2,
        keep: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for side in size:
            check_number("data.size", side, at_least=32)
        check_number("data.jitter", jitter, at_least=0, at_most=1)
        self.size = size
        self.keep = keep
        self.augmentation = augmentation(vertical_flip=vertical_flip, jitter=jitter)

    @abstractmethod
    def read(self, split: str) -> list[Annotation]:
        """The annotations of a split."""

    def make(self, split: str) -> BoxedImages:
        """The data set of a split."""
        changed = self.augmentation if split == "train" else None
        return BoxedImages(usable(self.read(split), f"data.{split}"), self.size, changed, self.keep, self.seed)


def _read(annotation: Annotation) -> Tensor:
    file = annotation.image
    if not file.is_file():
        raise FileNotFoundError(message(str(file), "an image that exists", "none"))
    image = torch.from_numpy(read_image(str(file), file.read_bytes())).permute(2, 0, 1)
    if image.shape[-2:] != annotation.size:
        raise ValueError(message(str(file), f"of the annotated size {annotation.size}", tuple(image.shape[-2:])))
    return image
