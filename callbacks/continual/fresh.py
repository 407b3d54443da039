"""A fresh start of optimizers and learning rates, in the middle of a fit."""

from copy import deepcopy
from typing import Any

from lightning.pytorch import Trainer


class FreshStart:
    """What optimizers and schedulers were like before the first step, to put them back to when a task starts.

    Their objects stay the same: what holds them (the strategy, a GradScaler, schedulers, hooks, monitors) goes on
    working, under every strategy that keeps an optimizer's state in its `state_dict`.

    Args:
        trainer: in `on_fit_start`, when optimizers are made and no checkpoint's state is in them yet.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._optimizers = [deepcopy(optimizer.state_dict()) for optimizer in trainer.optimizers]
        self._schedulers = [deepcopy(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs]

    def put_back(self, trainer: Trainer) -> None:
        """Forget momentum, step counts and the schedule's position."""
        state: dict[str, Any]
        for optimizer, state in zip(trainer.optimizers, self._optimizers, strict=True):
            optimizer.load_state_dict(deepcopy(state))
        for config, state in zip(trainer.lr_scheduler_configs, self._schedulers, strict=True):
            config.scheduler.load_state_dict(deepcopy(state))
