"""The optimizers of the two players."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer, do_nothing_closure
from lightning.pytorch.utilities.types import OptimizerLRScheduler, OptimizerLRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import LinearLR

from lightning_losses import parameter_groups
from lightning_losses.checks import check_choice, check_number, message

DECAYS = ("constant", "linear")


class Adams:
    """Adam for the generator and for the discriminator.

    Args:
        lr_generator: the learning rate.
        lr_discriminator: the learning rate.
        betas: of both.
        lr_decay: ``"constant"`` or ``"linear"``, to 0 at the end of training.
        n_critic: batches for one step of the generator, with which learning rates decay.

    Raises:
        ValueError: one is out of its range.
    """

    def __init__(
        self,
        lr_generator: float,
        lr_discriminator: float,
        betas: tuple[float, float] = (0.5, 0.999),
        lr_decay: str = "constant",
        n_critic: int = 1,
    ) -> None:
        self.lr_generator = check_number("model.lr_generator", lr_generator, above=0)
        self.lr_discriminator = check_number("model.lr_discriminator", lr_discriminator, above=0)
        for beta in betas:
            check_number("model.betas", beta, at_least=0, below=1)
        self.betas = (betas[0], betas[1])
        self.n_critic = n_critic
        self.decays = check_choice("model.lr_decay", lr_decay, DECAYS) == "linear"

    def configure(
        self, model: LightningModule, generators: nn.Module, discriminators: nn.Module
    ) -> OptimizerLRScheduler:
        """What `configure_optimizers` returns: one Adam of both under automatic optimization, else one for each.

        That of the discriminator, which has a loss in every batch, is the first: monitors look at the first.
        """
        generating = parameter_groups(generators, lr=self.lr_generator, weight_decay=0.0)
        judging = parameter_groups(discriminators, lr=self.lr_discriminator, weight_decay=0.0)
        players = [generating + judging] if model.automatic_optimization else [judging, generating]
        optimizers = [torch.optim.Adam(player, betas=self.betas) for player in players]
        if not self.decays:
            return optimizers
        steps = self.steps(model)
        return [
            OptimizerLRSchedulerConfig(
                optimizer=optimizer,
                lr_scheduler={"scheduler": LinearLR(optimizer, 1.0, 0.0, total_iters=steps), "interval": "step"},
            )
            for optimizer in optimizers
        ]

    def steps(self, model: LightningModule) -> int:
        """Of the generator in the whole training.

        Raises:
            ValueError: the training has no end.
        """
        steps = model.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise ValueError(message("model.lr_decay", "constant where the trainer has no end", "linear"))
        return max(1, int(steps) // self.n_critic)

    def check_length(self, model: LightningModule) -> None:
        """Refuse to go on with a learning rate that decays over a training of another length.

        Raises:
            ValueError: the run was begun with another number of steps.
        """
        steps = self.steps(model)
        for config in model.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LinearLR) and config.scheduler.total_iters != steps:
                raise ValueError(
                    f"The learning rate of this run decays over {config.scheduler.total_iters} steps, and the trainer "
                    f"now asks for {steps}: keep trainer.max_epochs, or begin a new run in another run_dir."
                )


def step_schedulers(model: LightningModule) -> None:
    """Under manual optimization, move the learning rates on by a step."""
    schedulers: Any = model.lr_schedulers() or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        scheduler.step()


def leave_uncounted(optimizer: LightningOptimizer) -> None:
    """Let a step of this optimizer, in this batch, not count in `trainer.global_step`.

    Lightning counts the steps of every optimizer, so with two of them `max_steps`, checkpoints and loggers would be off
    by a factor. It sets these hooks anew before every batch.
    """
    optimizer._on_before_step = do_nothing_closure
    optimizer._on_after_step = do_nothing_closure
