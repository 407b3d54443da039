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


def rank() -> int:
    """This process's number in the default process group, 0 without one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks, detached; a new tensor even in one process."""
    total = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def max_over_ranks(tensor: Tensor) -> Tensor:
    """The greatest of all ranks' `tensor`, element by element, detached; a new tensor even in one process."""
    greatest = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(greatest, dist.ReduceOp.MAX)
    return greatest


def differentiable_sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks; its gradient is summed over the ranks too.

    With a loss computed from such a sum every rank holds the same value, and the average of the ranks' gradients that
    DDP takes is exactly the gradient of that one global loss.
    """
    return tensor if world_size() == 1 else _Sum.apply(tensor)


def rows_around(tensor: Tensor) -> tuple[int, int]:
    """How many rows of such a tensor the ranks before this one hold, and those after; waits for the device."""
    if world_size() == 1:
        return 0, 0
    rows = torch.zeros(world_size(), dtype=torch.long, device=tensor.device)
    rows[dist.get_rank()] = len(tensor)
    of_ranks = sum_over_ranks(rows).tolist()
    return sum(of_ranks[: dist.get_rank()]), sum(of_ranks[dist.get_rank() + 1 :])


def differentiable_gather(tensor: Tensor, around: tuple[int, int]) -> Tensor:
    """The rows of all ranks, in the order of the ranks; the gradient of a row is summed over the ranks.

    With every rank's loss made of its own rows against all of these, the average of the ranks' gradients that DDP takes
    is the gradient of the average of their losses.

    Args:
        tensor: any number of rows [N, *], which may differ between the ranks.
        around: its `rows_around`.
    """
    if world_size() == 1:
        return tensor
    before, after = (tensor.new_zeros(rows, *tensor.shape[1:]) for rows in around)
    return differentiable_sum_over_ranks(torch.cat([before, tensor, after]))


class _Sum(torch.autograd.Function):
    """Its derivative is itself, so it can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return sum_over_ranks(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return differentiable_sum_over_ranks(gradient)
