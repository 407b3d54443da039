"""Data sets of scenes that are drawn as they are asked for."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import numpy as np
from torch.utils.data import Dataset

from lightning_losses.checks import check_choice, check_number
from lightning_losses.recipes.sampling import Draw

from .scenes import SPLITS, sources

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
    def draw(self, rng: np.random.Generator, index: int) -> Drawn:
        """The scene of a place in the data set, with all randomness from `rng`."""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Draw | int) -> Drawn:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        return self.draw(np.random.default_rng((self.seed, self.split, epoch, index)), index)
