"""Tensors that lie on the ranks in shards, and their norms."""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_losses.distributed import world_size
from lightning_losses.numerics import widest

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor, of which this rank may hold only a part."""
    return _sharded(tensor) is not None


def squared_norms(groups: Sequence[Sequence[Tensor]], device: torch.device) -> Tensor:
    r"""This rank's share of the squared norm of every group: summed over all ranks, it is the squared norm.

    .. math:: s_g = \sum_{t \in g} \frac{1}{c_t} \lVert t_\text{local} \rVert_2^2

    with :math:`c_t` the number of ranks that hold the same part of t: all of them for a plain tensor, one for a DTensor
    that is sharded over all.

    Args:
        groups: tensors by group, plain, sparse or DTensors; a group may be empty.
        device: where the result is wanted.

    Returns:
        :math:`s_g`, [G], in the widest floating type of the device. It costs no device sync.
    """
    tensors = [tensor for group in groups for tensor in group]
    total = widest(torch.zeros(len(groups), device=device))
    if not tensors:
        return total
    parts = [_local(tensor) for tensor in tensors]
    dtype = reduce(torch.promote_types, {part.dtype for part in parts}, torch.float32)
    norms = torch.stack([norm.to(device) for norm in torch._foreach_norm(parts, 2, dtype)])
    shares = torch.tensor([_share(tensor) for tensor in tensors], dtype=total.dtype).to(device, non_blocking=True)
    owners = torch.tensor([i for i, group in enumerate(groups) for _ in group]).to(device, non_blocking=True)
    return total.index_add(0, owners, norms.to(total.dtype).square() * shares)


def local_copies(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this rank holds of the tensors, copied."""
    return [_local(tensor).clone() for tensor in tensors]


def differences(tensors: Sequence[Tensor], copies: Sequence[Tensor]) -> list[Tensor]:
    """What `local_copies` kept minus what the tensors are now, each as the tensor lies on the ranks.

    It is written into the copies: to find fresh memory for the weights a second time would take longer than the rest.
    """
    torch._foreach_sub_(list(copies), [_local(tensor) for tensor in tensors])
    return [_like(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True)]


def _local(tensor: Tensor) -> Tensor:
    sharded = _sharded(tensor)
    local = tensor.detach() if sharded is None else sharded.to_local().detach()
    return local.coalesce().values() if local.is_sparse else local


def _share(tensor: Tensor) -> float:
    """One over the number of ranks that hold the same part."""
    sharded, parts = _sharded(tensor), 1
    if sharded is not None:
        parts = math.prod(sharded.device_mesh.size(i) for i, p in enumerate(sharded.placements) if p.is_shard())
    return parts / world_size()


def _like(tensor: Tensor, local: Tensor) -> Tensor:
    """`local` as a part of what `tensor` is."""
    sharded = _sharded(tensor)
    if sharded is None:
        return local
    mesh, placements = sharded.device_mesh, sharded.placements
    whole: Tensor = type(sharded).from_local(
        local, mesh, placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )
    return whole


def _sharded(tensor: Tensor) -> "DTensor | None":
    if world_size() == 1:
        return None
    from torch.distributed.tensor import DTensor

    return tensor if isinstance(tensor, DTensor) else None
