"""Images of tasks, read a batch at a time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_losses.recipes.sampling import Draw

from .images import Labelled
from .streams import Stream

Batch = tuple[tuple[Tensor, Tensor], Tensor]
"""((images [N, H, W] in 0..1, task of each [N]), labels [N])."""


class TaskSet(Dataset[Batch]):
    """The images of one task.

    Args:
        stream: that the task is of.
        task: its number.
        whole: the images that all tasks are made of.
        first: the label of its first class.
    """

    def __init__(self, stream: Stream, task: int, whole: Labelled, first: int = 0) -> None:
        part = stream.part(task, whole)
        self.stream = stream
        self.task = task
        self.images = part.images
        self.labels = part.labels + first

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: Tensor) -> Batch:
        """Some of them."""
        seen = self.stream.seen(self.task, self.images[chosen])
        return (seen, torch.full_like(chosen, self.task)), self.labels[chosen]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self.batch(torch.tensor(indices))


class StreamSet(Dataset[Batch]):
    """What an epoch trains on, asked for (epoch, index): the images of the epoch's task.

    Args:
        tasks: all of them.
        epochs_per_task: how many epochs each is learnt for.
        length: how many images make an epoch; the next epoch of the task goes on where this one ends, in an order that
            is not the file's.
    """

    def __init__(self, tasks: Sequence[TaskSet], epochs_per_task: int, length: int) -> None:
        self.tasks = tasks
        self.epochs_per_task = epochs_per_task
        self.length = length
        self.orders = [torch.randperm(len(one), generator=torch.Generator().manual_seed(one.task)) for one in tasks]

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        task, epoch = divmod(draws[0][0], self.epochs_per_task)
        places = torch.tensor([epoch * self.length + index for _, index in draws])
        order = self.orders[task]
        return self.tasks[task].batch(order[places % len(order)])


def as_it_is(batch: Any) -> Any:
    """What was read a batch at a time needs no collating."""
    return batch
