"""Sums over the ranks of a process group; the identity where there is none.

Statistics that a loss needs from the whole global batch (soft Dice, a mean over unmasked elements) are exchanged as
sums and counts, never as means, so that N ranks equal one process with the union of their batches.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of ranks in the default process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks, detached; a new tensor even in one process."""
    total = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def differentiable_sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks; its gradient is summed over the ranks too.

    With a loss computed from such a sum every rank holds the same value, and the average of the ranks' gradients that
    DDP takes is exactly the gradient of that one global loss.
    """
    return tensor if world_size() == 1 else _Sum.apply(tensor)


class _Sum(torch.autograd.Function):
    """Its derivative is itself, so it can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return sum_over_ranks(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return differentiable_sum_over_ranks(gradient)
