"""The embedded data: scenes of handwritten digits, each with a box around it."""

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from lightning_losses.checks import check_number
from lightning_losses.recipes.drawn import DrawnData, DrawnScenes
from lightning_losses.recipes.scenes import draw_digits

from .data import Batch, sample

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

    def draw(self, rng: np.random.Generator) -> Batch:
        """A scene."""
        image, covered, digits = draw_digits(rng, self.pool, self.size)
        visible = covered.flatten(1).any(1)
        return sample(image, boxes_around(covered[visible]), digits[visible], MOST)


def boxes_around(masks: Tensor) -> Tensor:
    """The smallest boxes (x1, y1, x2, y2) [K, 4] that cover all pixels of masks [K, H, W].

    >>> boxes_around(torch.tensor([[[False, False, False], [False, True, True]]]))
    tensor([[1., 1., 3., 2.]])
    """
    boxes: Tensor = masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])  # the far edges of the last pixels
    return boxes


class DigitBoxes(DrawnData):
    """`DrawnData` with a box around each digit, 10 classes."""

    num_classes = 10

    def make(self, split: str) -> BoxedScenes:
        """The scenes of a split."""
        return BoxedScenes(split, self.lengths[split], self.size, self.seed)
