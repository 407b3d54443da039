"""The embedded data: handwritten digits, turned and scaled a little."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_losses.checks import check_number
from lightning_losses.recipes.data import SPLITS
from lightning_losses.recipes.handwriting import handwriting, sources

from .data import ImageData, LabelledImages


def draw_images(rng: np.random.Generator, pool: Tensor, count: int, size: int) -> LabelledImages:
    """Digits of white ink on black, each turned, sheared, scaled and moved a little.

    Args:
        rng: where all randomness comes from.
        pool: the indices of the handwritten digits to choose from.
        count: how many images.
        size: side length in pixels.
    """
    ink, digit = handwriting()
    chosen = pool[torch.from_numpy(rng.integers(len(pool), size=count))]
    angle, shear = rng.uniform(-0.2, 0.2, count), rng.uniform(-0.15, 0.15, count)
    scale, moved = rng.uniform(0.9, 1.1, count), rng.uniform(-0.08, 0.08, (2, count))
    rows = [[np.cos(angle), shear - np.sin(angle), moved[0]], [np.sin(angle), np.cos(angle), moved[1]]]
    theta = torch.from_numpy(np.array(rows).transpose(2, 0, 1) / scale[:, None, None]).float()
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    drawn = F.grid_sample(ink[chosen], grid, align_corners=False)
    return LabelledImages((drawn * 255).round().to(torch.uint8), digit[chosen])


class DigitImages(ImageData):
    """Images of handwritten digits (scikit-learn's 8x8 originals, enlarged). Nothing is downloaded.

    The handwritten digits that one split is made of appear in no other.

    Args:
        train_images: how many images there are to train on.
        val_images: of validation.
        test_images: of the test.
        size: side length in pixels.
        options: those of `ImageData`; the seed is that of everything random.
    """

    def __init__(
        self,
        train_images: int = 16384,
        val_images: int = 2048,
        test_images: int = 10000,
        size: int = 28,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        counts = zip(SPLITS, (train_images, val_images, test_images), strict=True)
        self.counts = {split: int(check_number(f"data.{split}_images", count, at_least=2)) for split, count in counts}
        self.size = int(check_number("data.size", size, at_least=8))

    def make(self, split: str) -> LabelledImages:
        """The images of a split, a function of (seed, split)."""
        rng = np.random.default_rng((self.seed, SPLITS.index(split)))
        return draw_images(rng, sources(split, self.seed), self.counts[split], self.size)
