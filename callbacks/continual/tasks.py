"""What a data module tells of its tasks."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Trainer

from lightning_losses.checks import message


@runtime_checkable
class TaskData(Protocol):
    r"""A data module of T tasks, of which each is learnt for the same number of epochs.

    `train_dataloader` gives, in epoch e, the data of task :math:`\lfloor e / E \rfloor`: either the loader is made
    anew in each epoch (``Trainer(reload_dataloaders_every_n_epochs=1)``; Lightning counts a larger number from where a
    run was resumed, and would be late), or its data set is asked for pairs (epoch, index), as
    `lightning_losses.recipes.sampling.ResumableLoader` does. `val_dataloader` and `test_dataloader` give a list of
    loaders, one for each task.
    """

    tasks: int
    epochs_per_task: int

    def task_samples(self, task: int, samples: int | None) -> Iterable[tuple[Any, Any]]:
        """Batches (inputs, targets) of a task's training data: this rank's share of so many samples, None for all.

        The same whenever it is asked for; inputs are what the model's `forward` takes.
        """
        ...


def task_data(trainer: Trainer) -> TaskData:
    """The Trainer's data module.

    Raises:
        TypeError: it tells nothing of tasks.
    """
    data: object = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, TaskData):
        rule = "a data module with `tasks`, `epochs_per_task` and `task_samples(task, samples)`"
        raise TypeError(message("datamodule", rule, type(data).__name__))
    return data


def sampled_batches(trainer: Trainer, task: int, samples: int | None) -> Iterator[tuple[Any, Any]]:
    """The task's samples where the model is, and in its precision."""
    for batch in task_data(trainer).task_samples(task, samples):
        inputs, targets = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))
        yield inputs, targets
