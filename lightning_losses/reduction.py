"""From per-element values to one number, by way of sums and counts.

The mean of means is wrong as soon as elements are masked: a rank or micro-batch with two valid pixels would weigh as
much as one with two thousand. So values travel as (sum, count) until the last line, and the count is global.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_losses.checks import check_choice, message
from lightning_losses.distributed import sum_over_ranks, world_size
from lightning_losses.numerics import safe_divide

REDUCTIONS = ("mean", "sum", "none")


@dataclass(frozen=True)
class Parts:
    """Per-element values of a loss and how much each counts in the mean.

    Args:
        values: any shape; each already multiplied by its weight.
        count: what each element adds to the denominator of the mean, broadcast like `values`; None for 1 each.
        is_global: the values were computed from statistics of all ranks, so no rank has more of them than another.
    """

    values: Tensor
    count: Tensor | None = None
    is_global: bool = False

    def weighted(self, weight: Tensor | None, mask: Tensor | None) -> "Parts":
        """With per-element weights (an integer weight is a repetition) and a mask (False is a deletion).

        Raises:
            ValueError: one of them does not broadcast to the values.
        """
        values, count = self.values, self.count
        if mask is not None:
            check_broadcast("mask", mask, values)
            values = torch.where(mask, values, torch.zeros_like(values))
            count = mask.to(values.dtype).expand_as(values) if count is None else torch.where(mask, count, 0)
        if weight is not None:
            check_broadcast("weight", weight, values)
            values = values * weight
            weight = weight.to(values.dtype)
            count = weight.expand_as(values) if count is None else count * weight
        return Parts(values, count, self.is_global)

    def sum_and_count(self) -> tuple[Tensor, Tensor]:
        """(sum of the values, sum of the counts) of this rank, two 0-d tensors."""
        total = self.values.sum()
        if self.count is None:
            return total, torch.full_like(total, self.values.numel(), requires_grad=False)
        return total, self.count.sum().to(total.dtype)


def reduce(parts: Parts, reduction: str = "mean") -> Tensor:
    r"""Reduce per-element values.

    ``"mean"`` is :math:`\sum_e v_e / \sum_e c_e` over the elements of all ranks: each rank returns its sum times the
    number of ranks over the global count, so that averaging over ranks, as DDP does with gradients and Lightning with
    logged values, gives that mean. Where every element counts 1 no message is sent. An empty count gives 0 with a
    zero gradient. ``"sum"`` and ``"none"`` are of this rank alone.

    Args:
        parts: values and counts.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A 0-d tensor, or the values themselves for ``"none"``.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    if reduction == "none":
        return parts.values
    if parts.count is None and reduction == "mean" and parts.values.numel():
        return parts.values.mean()
    total, count = parts.sum_and_count()
    if reduction == "sum":
        return total
    if parts.count is not None and not parts.is_global and world_size() > 1:
        total, count = total * world_size(), sum_over_ranks(count)
    return safe_divide(total, count)


def check_broadcast(parameter: str, tensor: Tensor, values: Tensor) -> None:
    """`tensor` must fit `values`: where `values` would grow instead, each element would silently count many times."""
    pairs = zip(reversed(tensor.shape), reversed(values.shape), strict=False)
    if tensor.dim() > values.dim() or any(size not in (1, of_values) for size, of_values in pairs):
        rule = f"broadcastable to the shape {tuple(values.shape)} of the elements"
        raise ValueError(message(parameter, rule, tuple(tensor.shape)))
