"""The embedded data: scenes of handwritten digits, drawn as they are asked for."""

import numpy as np
from torch.utils.data import Dataset

from lightning_losses.checks import check_choice, check_number
from lightning_losses.recipes.sampling import Draw

from .data import SegmentationData
from .scenes import SPLITS, Scene, draw_scene, sources


class SceneSet(Dataset[Scene]):
    """Scenes of a split; each is a pure function of (seed, split, epoch, index).

    Asked for a pair (epoch, index) it draws that epoch's scene, asked for an index that of epoch 0.

    >>> scenes = SceneSet("train", length=100)
    >>> image, mask = scenes[3, 17]  # epoch 3, scene 17
    >>> image.shape, image.dtype, mask.shape, mask.dtype
    (torch.Size([3, 64, 64]), torch.uint8, torch.Size([64, 64]), torch.int64)
    """

    def __init__(self, split: str, length: int, size: int = 64, seed: int = 0) -> None:
        self.split = SPLITS.index(check_choice("split", split, SPLITS))
        self.length = int(check_number("length", length, at_least=1))
        self.size = int(check_number("size", size, at_least=16))
        self.seed = seed
        self.pool = sources(split, seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: Draw | int) -> Scene:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        return draw_scene(np.random.default_rng((self.seed, self.split, epoch, index)), self.pool, self.size)


class DigitScenes(SegmentationData):
    """Scenes of handwritten digits, 11 classes: the background and ten digits. Nothing is downloaded.

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
        size: int = 64,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        self.lengths = {"train": train_scenes, "val": val_scenes, "test": test_scenes}
        self.size = size

    def make(self, split: str) -> SceneSet:
        """The scenes of a split."""
        return SceneSet(split, self.lengths[split], self.size, self.seed)
