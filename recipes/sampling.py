"""A data order that survives a stop: seeded by epoch, split over ranks, resumable in mid-epoch.

Lightning restores its own counters from a checkpoint, but a plain loader starts its epoch anew. Here the position is
part of the checkpoint, and random numbers are a pure function of (seed, epoch, index), so a run that was stopped and
resumed is bit-equal to one that was not, with any number of workers.
"""

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lightning_losses.checks import message

Draw = tuple[int, int]
"""(epoch, index): what a training data set is asked for, so that it may draw anew in every epoch."""


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Let torch's random numbers be a pure function of `key` (integers of at least 0), and restore its state after.

    >>> with seeded(0, 3, 17):
    ...     first = torch.rand(2)
    >>> with seeded(0, 3, 17):
    ...     torch.equal(first, torch.rand(2))
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_mix(key))
        yield


def _mix(key: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


class ResumableSampler(DistributedSampler[Draw]):
    """Indices shuffled by (seed, epoch) and split over ranks, as pairs (epoch, index), from a position onward.

    It is a `DistributedSampler`, so Lightning leaves it in place and tells it the epoch.

    Args:
        dataset: anything with a length.
        seed: of the order.
        world_size: the number of ranks, `trainer.world_size`.
        rank: this process's, `trainer.global_rank`.

    >>> list(ResumableSampler(range(4)))
    [(0, 0), (0, 1), (0, 3), (0, 2)]
    """

    def __init__(self, dataset: Sized, *, seed: int = 0, world_size: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas=world_size, rank=rank, seed=seed, drop_last=True)  # type: ignore[arg-type]
        self.start = 0

    def __iter__(self) -> Iterator[Draw]:
        """The pairs of this epoch and rank, without the first `start`."""
        indices: list[Any] = list(super().__iter__())
        for index in indices[self.start :]:
            yield self.epoch, index


class ResumableLoader(DataLoader[Any]):
    """A `DataLoader` over a `ResumableSampler` whose position Lightning saves with every checkpoint and restores.

    The position counts the batches handed out, not those that workers have prefetched. It is the same on all ranks.
    Nothing is drawn from the global generators: the seed that a loader hands to its workers is a function of (seed,
    epoch, rank), so that a model draws the same numbers whether or not the loader has been started anew.

    >>> dataset = {(0, index): index for index in range(6)}
    >>> loader = ResumableLoader(dataset, batch_size=2, sampler=ResumableSampler(dataset))
    >>> next(iter(loader)), loader.state_dict()
    (tensor([2, 5]), {'epoch': 0, 'batches': 1})
    >>> loader.load_state_dict({"epoch": 0, "batches": 1})
    >>> list(loader)
    [tensor([3, 0]), tensor([1, 4])]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"generator": torch.Generator(), **kwargs})
        self._epoch = self._batches = 0
        self._resuming = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The batches of the sampler's epoch; after `load_state_dict`, those that are left of it."""
        # A generator begins at its first next(): after Lightning has told the sampler its epoch, even though
        # Lightning calls iter() before.
        sampler = self.sampler
        if not isinstance(sampler, ResumableSampler):  # `overfit_batches` puts another in its place
            yield from super().__iter__()
            return
        if not (self._resuming and self._epoch == sampler.epoch):
            self._epoch, self._batches = sampler.epoch, 0
        self._resuming = False
        sampler.start = self._batches * (self.batch_size or 1)
        self.generator.manual_seed(_mix((sampler.seed, sampler.epoch, sampler.rank)))
        for batch in super().__iter__():
            self._batches += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were handed out."""
        return {"epoch": self._epoch, "batches": self._batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue behind the last batch of `state`, if the next epoch asked for is that one; else begin it."""
        self._epoch, self._batches, self._resuming = state["epoch"], state["batches"], True


class ResumableData(LightningDataModule):
    """A data module whose training loader goes on where the checkpoint was taken.

    Lightning restores the position of a loader that is made after the checkpoint was read. One that asks for
    `trainer.estimated_stepping_batches` in `configure_optimizers` has it made before, and it would begin its epoch
    anew without a word. So the position is in the data module's state too, which is read first of all.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loader: ResumableLoader | None = None
        self._position: dict[str, int] = {}

    def resumable_loader(
        self, dataset: Dataset[Any], *, batch_size: int, seed: int, num_workers: int = 0
    ) -> ResumableLoader:
        """What `train_dataloader` returns: the loader of this rank's share of `dataset`.

        Raises:
            ValueError: there are too few samples for one batch per rank.
        """
        world_size, rank = (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
        sampler = ResumableSampler(cast(Sized, dataset), seed=seed, world_size=world_size, rank=rank)
        if len(sampler) < batch_size:
            rule = f"at most {len(sampler)}, the training samples of each rank"
            raise ValueError(message("data.batch_size", rule, batch_size))
        self._loader = ResumableLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            drop_last=True,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=num_workers > 0,
        )
        self._restore()
        return self._loader

    def state_dict(self) -> dict[str, Any]:
        """The position of the training loader."""
        return {} if self._loader is None else dict(self._loader.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the position, of the loader that exists or of the next one."""
        self._position = state_dict
        self._restore()

    def _restore(self) -> None:
        if self._loader is not None and self._position:
            self._loader.load_state_dict(self._position)
