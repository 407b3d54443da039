"""The embedded data: scenes of handwritten digits, each with a box around it."""

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from lightning_losses.checks import check_number
from lightning_losses.recipes.segmentation.drawn import DrawnScenes
from lightning_losses.recipes.segmentation.scenes import draw_digits

from .data import Batch, DetectionData, sample

MOST = 6  # digits in a scene


class BoxedScenes(DrawnScenes[Batch]):
    """Scenes of a split and a box around each digit.

    >>> scenes = BoxedScenes("train", length=100)
    >>> scene = scenes[3, 17]  # epoch 3, scene 17
    >>> scene.image.shape, scene.boxes.shape, scene.labels.tolist()
    (torch.Size([3, 96, 96]), torch.Size([6, 4]), [4, 3, 8, 1, -1, -1])
    """

    def __init__(self, split: str, length: int, size: int = 96, seed: int = 0) -> None:
        super().__init__(split, length, int(check_number("size", size, at_least=32)), seed)

    def draw(self, rng: np.random.Generator, index: int) -> Batch:
        """A scene."""
        image, covered, digits = draw_digits(rng, self.pool, self.size)
        visible = covered.flatten(1).any(1)
        return sample(image, boxes_around(covered[visible]), digits[visible], index, MOST)


def boxes_around(masks: Tensor) -> Tensor:
    """The smallest boxes (x1, y1, x2, y2) [K, 4] that cover all pixels of masks [K, H, W].

    >>> boxes_around(torch.tensor([[[False, False, False], [False, True, True]]]))
    tensor([[1., 1., 3., 2.]])
    """
    boxes: Tensor = masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])  # the far edges of the last pixels
    return boxes


class DigitBoxes(DetectionData):
    """Scenes of handwritten digits with boxes, 10 classes. Nothing is downloaded.

    Training scenes are new in every epoch. The handwritten digits that the scenes of one split are made of appear in
    no other.

    Args:
        train_scenes: scenes in an epoch.
        val_scenes: scenes of validation.
        test_scenes: scenes of the test.
        size: side length of a scene in pixels.
        batch_size: of training, on each device.
        eval_batch_size: of validation and test.
        num_workers: processes that draw; 0 for none.
        seed: of everything random.
    """

    def __init__(
        self,
        train_scenes: int = 4096,
        val_scenes: int = 256,
        test_scenes: int = 1024,
        size: int = 96,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self.lengths = {"train": train_scenes, "val": val_scenes, "test": test_scenes}
        self.size = size

    def make(self, split: str) -> BoxedScenes:
        """The scenes of a split."""
        return BoxedScenes(split, self.lengths[split], self.size, self.seed)
