"""The embedded data: scenes of handwritten digits, drawn as they are asked for."""

import numpy as np

from lightning_losses.checks import check_number

from .data import SegmentationData
from .drawn import DrawnScenes
from .scenes import Scene, draw_scene


class SceneSet(DrawnScenes[Scene]):
    """Scenes of a split and which class each pixel shows.

    >>> scenes = SceneSet("train", length=100)
    >>> image, mask = scenes[3, 17]  # epoch 3, scene 17
    >>> image.shape, image.dtype, mask.shape, mask.dtype
    (torch.Size([3, 64, 64]), torch.uint8, torch.Size([64, 64]), torch.int64)
    """

    def __init__(self, split: str, length: int, size: int = 64, seed: int = 0) -> None:
        super().__init__(split, length, int(check_number("size", size, at_least=16)), seed)

    def draw(self, rng: np.random.Generator, index: int) -> Scene:
        """A scene."""
        return draw_scene(rng, self.pool, self.size)


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
