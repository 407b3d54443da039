"""What recipes train with: AdamW, and a learning rate over the whole training."""

from typing import cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from lightning_losses import parameter_groups
from lightning_losses.checks import check_choice, check_number

SCHEDULES = ("onecycle", "cosine")


def scheduled_adamw(model: LightningModule, lr: float, weight_decay: float, schedule: str) -> OptimizerLRScheduler:
    """AdamW, its learning rate scheduled step by step; what the loss learns does not decay.

    Args:
        model: what is trained, in a trainer.
        lr: the peak of the learning rate.
        weight_decay: AdamW's.
        schedule: ``"onecycle"`` (warm-up, then cosine to zero) or ``"cosine"``.
    """
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=lr, weight_decay=weight_decay))
    steps = int(model.trainer.estimated_stepping_batches)
    scheduler: LRScheduler
    if schedule == "onecycle":
        scheduler = OneCycleLR(optimizer, max_lr=lr, total_steps=steps)
    else:
        scheduler = CosineAnnealingLR(optimizer, T_max=steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def check_optimization(lr: float, weight_decay: float, schedule: str) -> None:
    """The arguments of `scheduled_adamw`, as keys of a recipe's `model`.

    Raises:
        ValueError: one is out of its range.
    """
    check_number("model.lr", lr, above=0)
    check_number("model.weight_decay", weight_decay, at_least=0)
    check_choice("model.schedule", schedule, SCHEDULES)


def check_length(model: LightningModule) -> None:
    """Refuse to go on with a learning rate that was scheduled for a training of another length.

    Raises:
        ValueError: the run was begun with another number of steps.
    """
    scheduler, steps = model.lr_schedulers(), int(model.trainer.estimated_stepping_batches)
    planned = scheduler.T_max if isinstance(scheduler, CosineAnnealingLR) else cast(OneCycleLR, scheduler).total_steps
    if planned != steps:
        raise ValueError(
            f"The learning rate of this run is scheduled over {planned} steps, and the trainer now asks for "
            f"{steps}: keep trainer.max_epochs, or begin a new run in another run_dir."
        )
