"""The gradient of the small batch, one micro-batch of one rank, before accumulation and DDP make a large one of it."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor

from lightning_losses.distributed import world_size
from lightning_losses.sharding import squared_norms


def why_not(trainer: Trainer, model: LightningModule) -> str | None:
    """Why no second batch size can be seen in this Trainer; None if one can."""
    if not model.automatic_optimization:
        return "under manual optimization it cannot know which backwards make one step"
    if trainer.accumulate_grad_batches > 1:
        return None
    if isinstance(trainer.strategy, ModelParallelStrategy):
        return "FSDP2 shows gradients only when they are averaged over ranks; set accumulate_grad_batches above 1"
    if world_size() == 1 or not isinstance(trainer.strategy, DDPStrategy):
        return "gradients come at one batch size only; set accumulate_grad_batches above 1, or train on several ranks"
    return None


def small_batch_ranks(trainer: Trainer) -> int:
    """Over how many ranks the gradient of a micro-batch is averaged before it is seen: FSDP2 shows no other."""
    return world_size() if isinstance(trainer.strategy, ModelParallelStrategy) else 1


def samples_in(batch: Any) -> int | None:
    """The size of the batch's first tensor; None, with a warning, where it holds none."""
    try:
        return extract_batch_size(batch)
    except MisconfigurationException:
        rank_zero_warn(
            "GradientNormMonitor logs no noise scale: it finds no batch size in a batch of type "
            f"{type(batch).__name__}. Pass batch_size, or noise_scale=False."
        )
        return None


class SmallBatch:
    """Watches the first backward of a step.

    With accumulation its gradient lies in `.grad` when it ends, since DDP averages in the last backward only. Without,
    DDP averages while the backward runs: hooks then look at each gradient as it arrives. They are post-accumulation
    hooks, which `torch.autograd.grad` does not call, and are gone when the backward ends.

    Args:
        parameters: the parameters of the optimizer.
        accumulate: micro-batches of the step.
    """

    def __init__(self, parameters: Sequence[Tensor], accumulate: int) -> None:
        self.parameters = parameters
        self.accumulate = accumulate
        self._squares: list[Tensor] = []
        watched = [p for p in parameters if p.requires_grad] if accumulate == 1 else []
        self._hooks = [p.register_post_accumulate_grad_hook(self._look) for p in watched]  # type: ignore[no-untyped-call]

    def _look(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self._squares.append(squared_norms([[parameter.grad]], parameter.device))

    def close(self, scale: Tensor | float) -> Tensor:
        """This rank's share of the mean squared norm over ranks, [1].

        Args:
            scale: that of the GradScaler.
        """
        self.remove()
        if self.accumulate == 1:
            squares = torch.stack(self._squares).sum(0)
        else:
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            squares = squared_norms([gradients], gradients[0].device)
        return squares * (self.accumulate / scale) ** 2

    def remove(self) -> None:
        """Leave the parameters as they were."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
