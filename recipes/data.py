"""What the data of all recipes share: three splits, and their loaders."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lightning_losses.checks import check_number, message
from lightning_losses.recipes.sampling import ResumableData, ResumableLoader

SPLITS = ("train", "val", "test")
STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


def check_classes(trainer: Trainer, num_classes: int) -> None:
    """Refuse a network for another number of classes than its data have.

    Raises:
        ValueError: the message names both.
    """
    data: object = trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(data, SplitData) and data.num_classes not in (None, num_classes):
        raise ValueError(message("model.num_classes", f"{data.num_classes}, as the data have it", num_classes))


def own_samples(trainer: Trainer, batch_idx: int, count: int, dataloader_idx: int = 0) -> int:
    """How many of the first samples of a batch of validation or test count on this rank.

    The others are repeats, by which Lightning's sampler gives all ranks as many batches: where a forward waits for all
    ranks, none may have fewer.

    Args:
        trainer: in validation or test.
        batch_idx: which batch.
        count: how many samples the batch has.
        dataloader_idx: of which loader, where there are several.
    """
    loaders = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    loader = loaders[dataloader_idx] if isinstance(loaders, list) else loaders
    if not isinstance(loader, DataLoader) or not isinstance(loader.sampler, DistributedSampler):
        return count
    sampler = loader.sampler  # deals samples out to ranks one by one
    share = math.ceil((len(loader.dataset) - sampler.rank) / sampler.num_replicas)  # type: ignore[arg-type]
    return min(count, share - batch_idx * (loader.batch_size or 1))


class SplitData(ResumableData, ABC):
    """Loaders of three splits; a subclass makes the data set of each.

    Args:
        batch_size: of training, on each device.
        eval_batch_size: of validation and test; 1 where images differ in size.
        num_workers: processes that prepare batches; 0 for none.
        seed: of everything random: the order of training samples, augmentation, and what is drawn.

    Attributes:
        num_classes: how many classes labels tell apart; None where no network needs to know.
    """

    num_classes: int | None = None

    def __init__(self, batch_size: int = 8, eval_batch_size: int = 8, num_workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.batch_size = int(check_number("data.batch_size", batch_size, at_least=1))
        self.eval_batch_size = int(check_number("data.eval_batch_size", eval_batch_size, at_least=1))
        self.num_workers = int(check_number("data.num_workers", num_workers, at_least=0))
        self.seed = int(check_number("data.seed", seed, at_least=0))
        self._sets: dict[str, Dataset[Any]] = {}

    @abstractmethod
    def make(self, split: str) -> Dataset[Any]:
        """The data set of ``"train"`` (asked for pairs (epoch, index)), ``"val"`` or ``"test"`` (asked for indices)."""

    def setup(self, stage: str) -> None:
        """Make the data sets that the stage needs, once."""
        for split in STAGES[stage]:
            if split not in self._sets:
                self._sets[split] = self.make(split)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled by (seed, epoch); its position is part of every checkpoint."""
        return self.resumable_loader(
            self._sets["train"], batch_size=self.batch_size, seed=self.seed, num_workers=self.num_workers
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return self._eval_loader("test")

    def _eval_loader(self, split: str) -> DataLoader[Any]:
        return DataLoader(
            self._sets[split],
            batch_size=self.eval_batch_size,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )
