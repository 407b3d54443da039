"""The embedded data: scenes of handwritten digits, and which class each pixel shows."""

import numpy as np
import torch
from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.recipes.drawn import DrawnData, DrawnScenes
from lightning_losses.recipes.scenes import draw_digits

Scene = tuple[Tensor, Tensor]
"""(image [3, S, S] of uint8, mask [S, S] of int64: digit + 1, background 0)."""


class SceneSet(DrawnScenes[Scene]):
    """Scenes of a split and which class each pixel shows.

    >>> scenes = SceneSet("train", length=100)
    >>> image, mask = scenes[3, 17]  # epoch 3, scene 17
    >>> image.shape, image.dtype, mask.shape, mask.dtype
    (torch.Size([3, 64, 64]), torch.uint8, torch.Size([64, 64]), torch.int64)
    """

    def __init__(self, split: str, length: int, size: int = 64, seed: int = 0) -> None:
        super().__init__(split, length, int(check_number("size", size, at_least=16)), seed)

    def draw(self, rng: np.random.Generator) -> Scene:
        """A scene."""
        return draw_scene(rng, self.pool, self.size)


def draw_scene(rng: np.random.Generator, pool: Tensor, size: int = 64) -> Scene:
    """Draw one scene of 2 to 6 digits by `draw_digits`, which tells the arguments."""
    image, covered, digits = draw_digits(rng, pool, size)
    mask = torch.zeros(size, size, dtype=torch.int64)
    for pixels, label in zip(covered, digits + 1, strict=True):
        mask.masked_fill_(pixels, int(label))
    return image, mask


class DigitScenes(DrawnData):
    """`DrawnData` with a class for each pixel, 11 classes: the background and ten digits."""

    num_classes = 11

    def make(self, split: str) -> SceneSet:
        """The scenes of a split."""
        return SceneSet(split, self.lengths[split], self.size, self.seed)
