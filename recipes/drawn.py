"""Scenes that are drawn as they are asked for: their data sets, and their data."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import Dataset

from lightning_losses.checks import check_choice, check_number

from .data import SPLITS, SplitData
from .handwriting import sources
from .sampling import Draw

Drawn = TypeVar("Drawn")


class DrawnScenes(Dataset[Drawn], ABC, Generic[Drawn]):
    """Scenes of a split; each is a pure function of (seed, split, epoch, index).

    Asked for a pair (epoch, index) it draws that epoch's scene, asked for an index that of epoch 0.
    """

    def __init__(self, split: str, length: int, size: int, seed: int) -> None:
        self.split = SPLITS.index(check_choice("split", split, SPLITS))
        self.length = int(check_number("length", length, at_least=1))
        self.size = size
        self.seed = seed
        self.pool = sources(split, seed)

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Drawn:
        """A scene, with all randomness from `rng`."""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Draw | int) -> Drawn:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        return self.draw(np.random.default_rng((self.seed, self.split, epoch, index)))


class DrawnData(SplitData):
    """Scenes of handwritten digits. Nothing is downloaded.

    Training scenes are new in every epoch. The handwritten digits that the scenes of one split are made of appear in
    no other.

    Args:
        train_scenes: scenes in an epoch.
        val_scenes: scenes of validation.
        test_scenes: scenes of the test.
        size: side length of a scene in pixels.
        batch_size: of training, on each device.
        eval_batch_size: of validation and test.
        options: those of `SplitData`.
    """

    def __init__(
        self,
        train_scenes: int = 4096,
        val_scenes: int = 256,
        test_scenes: int = 1024,
        size: int = 64,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, **options)
        self.lengths = dict(zip(SPLITS, (train_scenes, val_scenes, test_scenes), strict=True))
        self.size = size
