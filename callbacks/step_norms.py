"""What is measured of one optimizer step: squared norms of gradients, updates and weights, by layer group."""

from collections.abc import Iterable, Mapping

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer

from lightning_losses.distributed import sum_over_ranks
from lightning_losses.sharding import differences, local_copies, squared_norms


class StepNorms:
    """Measures a step in two looks: at what the optimizer is given, and at what it has done.

    Args:
        groups: the optimizer's parameters by layer group; at least one has a gradient.
        scale: what the gradients are multiplied by, to be divided out again.
        keep_weights: whether to copy the weights now, for the norm of their change.
    """

    def __init__(self, groups: Mapping[str, list[Tensor]], scale: Tensor | float, keep_weights: bool) -> None:
        self.groups = groups
        gradients = _gradients(groups)
        self._device = next(gradient.device for group in gradients for gradient in group)
        self._squares = {"norm": squared_norms(gradients, self._device) / scale**2}
        self._before = [local_copies(group) for group in groups.values()] if keep_weights else []

    @property
    def sizes(self) -> list[int]:
        """The number of elements in each group."""
        return [sum(parameter.numel() for parameter in group) for group in self.groups.values()]

    @torch.no_grad()
    def look_again(self, clipped: bool, small: Tensor | None) -> None:
        """After the step.

        Args:
            clipped: whether the gradients have been clipped, so that their norms are of interest again.
            small: this rank's share of the squared norm of the small batch's gradient, [1].
        """
        if clipped:
            self._squares["norm_clipped"] = squared_norms(_gradients(self.groups), self._device)
        if self._before:
            pairs = zip(self.groups.values(), self._before, strict=True)
            self._squares["update"] = squared_norms([differences(*pair) for pair in pairs], self._device)
            self._squares["weight"] = squared_norms(list(self.groups.values()), self._device)
        if small is not None:
            self._squares["small"] = small

    def on_host(self) -> dict[str, Tensor]:
        """The squared norms by kind, [G] each (``"small"``: [1]), over all ranks; one collective and one transfer."""
        vector = sum_over_ranks(torch.cat(list(self._squares.values()))).cpu()
        parts = torch.split(vector, [len(values) for values in self._squares.values()])
        return dict(zip(self._squares, parts, strict=True))


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Under FSDP2 only the optimizer's parameters are always the sharded ones, which have gradients."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def has_gradient(groups: Mapping[str, Iterable[Tensor]]) -> bool:
    """Whether any parameter has one."""
    return any(_gradients(groups))


def loss_scale(trainer: Trainer) -> Tensor | float:
    """The GradScaler's scale, 1 without one; a tensor, because reading the number would wait for the device."""
    plugin = trainer.precision_plugin
    if not isinstance(plugin, MixedPrecision) or plugin.scaler is None:
        return 1.0
    return plugin.scaler.scale(torch.ones((), device=trainer.strategy.root_device))


def gradient_scale(trainer: Trainer, optimizer: Optimizer) -> Tensor | float:
    """What the gradients that an optimizer is given are multiplied by: fused ones divide inside of their step."""
    return loss_scale(trainer) if getattr(optimizer, "_step_supports_amp_scaling", False) else 1.0


def _gradients(groups: Mapping[str, Iterable[Tensor]]) -> list[list[Tensor]]:
    return [[p.grad for p in group if p.grad is not None] for group in groups.values()]
