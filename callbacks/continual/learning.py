"""One task after another, in one fit."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from lightning_losses.anchors import stable_penalty_step
from lightning_losses.callbacks.continual.consolidation import Consolidation, Penalized, penalty, strength
from lightning_losses.callbacks.continual.fresh import FreshStart
from lightning_losses.callbacks.continual.matrix import row_of, write
from lightning_losses.callbacks.continual.metrics import average_accuracy, backward_transfer, forgetting
from lightning_losses.callbacks.continual.tasks import task_data
from lightning_losses.callbacks.curvature_strategies import check_strategy
from lightning_losses.checks import message

RATES = ("lr", "initial_lr", "max_lr")
"""What a parameter group may say of its learning rate: now, and the greatest that schedules tell of."""


class ContinualLearning(Callback):
    r"""Lets a network learn one task after another, and shows what it forgets.

    Tasks follow each other in one ``trainer.fit``, each for a fixed number of epochs. (A second `fit` would do nothing,
    since Lightning's loop is done, or open the ports of DDP a second time: Lightning's issues 9636 and 2758. And in one
    fit the steps, the logger, the progress bar and the checkpoints run through.) When a task ends

    1. what validation, in the task's last epoch, has logged for each task's loader becomes a row of the accuracy matrix
       :math:`R_{i,j}`, task j after task i;
    2. `consolidation` keeps what was learnt: `FisherInformation` (EWC), `PathIntegral` (SI), `OutputSensitivity` (MAS)
       or `TeacherSnapshot` (LwF);
    3. ``continual/average_accuracy``, ``continual/backward_transfer`` and ``continual/forgetting`` are logged, and the
       matrix is written as ``tasks.csv`` and ``tasks.png`` and handed to loggers that take pictures.

    When the next one starts, optimizer and learning rate schedule are as they were before the first step. A schedule is
    therefore that of one task: give it the steps of a task, since Lightning's ``trainer.estimated_stepping_batches``
    counts those of all. Running statistics of BatchNorm, which no penalty holds, stay as the first task has left them.

    The model is any LightningModule whose `forward` takes a batch's inputs and returns what the Fisher information is
    of, and whose `validation_step` logs the metric with Lightning's suffix for each loader; the data module is a
    `TaskData`. The matrix is part of every checkpoint: a run that was killed in a task goes on in that task.
    `test` logs the mean of the tasks' metric as ``test/average_accuracy``, where `metric` is ``val/accuracy``.

    With plain SGD it warns, once, where the penalty's own gradient step overshoots at the greatest learning rate of the
    schedule.

    Args:
        metric: its name as the model logs it in validation; higher is better.
        consolidation: how what was learnt is kept; None for not at all.
        freeze_batch_norm: keep BatchNorm's running statistics, and use them in training too, after the first task.
        dirpath: the folder of ``tasks.csv`` and ``tasks.png``; None for the Trainer's `default_root_dir`.

    Raises:
        TypeError: in `setup`, a data module that tells of no tasks.
        ValueError: in `setup`, more epochs than the tasks have, or no validation in a task's last epoch; when training
            starts, a `max_steps` that ends within a task.
        IncompatibleError: in `setup`, a strategy that has no layer's parameters whole.

    >>> ContinualLearning(metric="val/accuracy").matrix
    []
    """

    def __init__(
        self,
        *,
        metric: str = "val/accuracy",
        consolidation: Consolidation | None = None,
        freeze_batch_norm: bool = True,
        dirpath: str | None = None,
    ) -> None:
        self.metric = metric
        self.consolidation = consolidation
        self.freeze_batch_norm = freeze_batch_norm
        self.dirpath = dirpath
        self.matrix: list[list[float]] = []
        self._measured: list[float] = []  # by the validation behind the last step
        self._warned = False
        self._is_checked = False  # whether the present task's first step overshoots
        self._is_whole = True  # the epoch, so far as it has come

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work, before anything is started."""
        self._data = task_data(trainer)
        if stage != "fit":
            return
        check_strategy(trainer, type(self).__name__)
        epochs = self._data.tasks * self._data.epochs_per_task
        if trainer.max_epochs is None or not 0 <= trainer.max_epochs <= epochs:
            rule = f"at most {epochs}, the epochs of {self._data.tasks} tasks"
            raise ValueError(message("max_epochs", rule, trainer.max_epochs))
        if trainer.max_epochs < epochs:
            rank_zero_warn(f"max_epochs={trainer.max_epochs}: the {self._data.tasks} tasks take {epochs}.")
        every = trainer.check_val_every_n_epoch
        if not trainer.enable_validation or every is None or self._data.epochs_per_task % every:
            rule = f"a divisor of {self._data.epochs_per_task} (epochs_per_task), with validation enabled"
            raise ValueError(message("check_val_every_n_epoch", rule, every))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what optimizers are like, before a checkpoint's state is in them."""
        self._fresh = FreshStart(trainer)
        if self.consolidation is not None:
            self.consolidation.on_fit_start(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Catch up on a task whose end the checkpoint of a resumed run has not seen."""
        self._check_steps(trainer, pl_module)
        if self.consolidation is not None:
            self.consolidation.on_train_start(trainer, pl_module)
        if trainer.current_epoch // self._data.epochs_per_task > len(self.matrix):
            self._end_task(trainer, pl_module)
            self._fresh.put_back(trainer)  # Lightning calls no `on_train_epoch_start` then
        self._freeze(pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a task afresh."""
        if trainer.current_epoch % self._data.epochs_per_task == 0 and self.matrix:
            self._fresh.put_back(trainer)
        self._freeze(pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Warn of a penalty that is too strong for the step, and pass it on."""
        if isinstance(self.consolidation, Penalized) and self.matrix and not self._is_checked:
            self._is_checked = True
            self._warn_of_overshooting(trainer, pl_module)
        if self.consolidation is not None:
            self.consolidation.on_before_optimizer_step(trainer, pl_module, optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass it on."""
        self._measured = []
        self._is_whole = batch_idx + 1 >= trainer.num_training_batches
        if self.consolidation is not None:
            self.consolidation.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was measured, ahead of checkpoints."""
        if not trainer.sanity_checking:
            self._measured = row_of(trainer.callback_metrics, self.metric, self._data.tasks)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the task, if this was its last epoch."""
        if not self._is_whole:
            rank_zero_warn(f"Training has stopped within task {len(self.matrix) + 1}, which is not taken as learnt.")
        elif (trainer.current_epoch + 1) % self._data.epochs_per_task == 0:
            self._end_task(trainer, pl_module)
            pl_module.log_dict(
                {
                    "continual/average_accuracy": average_accuracy(self.matrix),
                    "continual/backward_transfer": backward_transfer(self.matrix),
                    "continual/forgetting": forgetting(self.matrix),
                },
                sync_dist=True,  # the same on all ranks, which Lightning cannot know
            )

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The mean over the tasks."""
        name = self.metric.rpartition("/")[2]
        row = row_of(trainer.callback_metrics, f"test/{name}", self._data.tasks)
        pl_module.log(f"test/average_{name}", sum(row) / len(row), prog_bar=True, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """The matrix so far, and what the consolidation needs for the present task."""
        kept = self.consolidation.state_dict() if self.consolidation is not None else {}
        return {"matrix": self.matrix, "measured": self._measured, "warned": self._warned, "consolidation": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.matrix, self._measured = state_dict["matrix"], state_dict["measured"]
        self._warned = state_dict["warned"]
        if self.consolidation is not None and state_dict["consolidation"]:
            self.consolidation.load_state_dict(state_dict["consolidation"])

    def _end_task(self, trainer: Trainer, pl_module: LightningModule) -> None:
        task = len(self.matrix)
        if not self._measured:
            rank_zero_warn(f"Task {task + 1} has ended without a validation behind its last step: its row is NaN.")
        self.matrix = [*self.matrix, self._measured or [float("nan")] * self._data.tasks]
        if self.consolidation is not None:
            self.consolidation.finish(trainer, pl_module, task)
            self._is_checked = False
        if trainer.is_global_zero:
            folder = Path(self.dirpath or trainer.default_root_dir)
            write(trainer, folder, self.matrix, self._data.tasks, self.metric)

    def _check_steps(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.max_steps < 0 or not pl_module.automatic_optimization:  # Lightning counts every optimizer's then
            return
        steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches) * self._data.epochs_per_task
        if trainer.max_steps < steps * self._data.tasks and trainer.max_steps % steps:
            rule = f"-1 or a multiple of {steps}, the steps of a task"
            raise ValueError(message("max_steps", rule, trainer.max_steps))

    def _warn_of_overshooting(self, trainer: Trainer, pl_module: LightningModule) -> None:
        descents = [optimizer for optimizer in trainer.optimizers if isinstance(optimizer, torch.optim.SGD)]
        rates = [group[key] for o in descents for group in o.param_groups for key in RATES if key in group]
        if rates and not self._warned:
            criterion, name, ewc = penalty(pl_module)
            self._warned = not stable_penalty_step(strength(criterion, name), max(rates), ewc.importance)

    def _freeze(self, model: nn.Module) -> None:
        if self.freeze_batch_norm and self.matrix:
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
