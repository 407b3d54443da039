"""Tensors that lie on the ranks in shards: their norms, their parts, and sums over these."""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightning_losses.distributed import sum_over_ranks, world_size
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


class Held(NamedTuple):
    """What this rank holds of a tensor.

    Args:
        part: of the tensor, with a graph to it; all of it where nothing is sharded.
        parts: into how many the tensor is cut.
        slope: what the gradient of the part is multiplied by, so that FSDP2 makes of it the gradient of a sum over all.
    """

    part: Tensor
    parts: int
    slope: float


def held(tensor: Tensor, like: Tensor | None = None) -> Held:
    """This rank's part of a tensor.

    FSDP2 shows the outermost parameters whole from their forward to their backward, and averages their gradients over
    the ranks. Of them this is the part that `like` has, so that no rank counts what another does.

    Args:
        tensor: a parameter.
        like: a tensor that always lies as the parameter's shards do; None for the tensor itself.
    """
    sharded, shards = _sharded(tensor), _sharded(tensor if like is None else like)
    if shards is None:
        return Held(tensor, 1, 1.0)
    parts = _parts(shards)
    return Held(_cut(tensor, shards), parts, parts) if sharded is None else Held(sharded.to_local(), parts, 1.0)


def sum_over_shards(sums: Sequence[Tensor], parts: Sequence[Held]) -> Tensor:
    """The sum over tensors and all their parts, 0-d and the same on all ranks, in one message.

    The gradient of each rank's part is that of the whole sum. All ranks must call it if any tensor is sharded.

    Args:
        sums: of each tensor what was summed over this rank's part, 0-d.
        parts: those parts.
    """
    stacked = torch.stack(list(sums))
    if all(part.parts == 1 for part in parts):
        return stacked.sum()
    shares, slopes = [part.parts / world_size() for part in parts], [part.slope for part in parts]
    total: Tensor = _SumOverShards.apply(stacked, stacked.new_tensor(shares), stacked.new_tensor(slopes))
    return total


def laid_as(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor on the device of another, and in the same shards; one in shards stays so beside one that is whole."""
    sharded, shards = _sharded(tensor), _sharded(like)
    if shards is None:
        return tensor.to(like.device)
    if sharded is None:
        return _like(like, _cut(tensor, shards).to(like.device, copy=True))
    return sharded if sharded.placements == shards.placements else sharded.redistribute(placements=shards.placements)


def scattered_sum(tensor: Tensor, like: Tensor) -> Tensor:
    """The sum over all ranks of a whole tensor, in the shards that `like` lies in; as it is where `like` is whole."""
    shards = _sharded(like)
    if shards is None:
        return tensor
    from torch.distributed.tensor import DTensor, Partial

    own = DTensor.from_local(tensor, shards.device_mesh, [Partial()] * shards.device_mesh.ndim, run_check=False)
    return own.redistribute(placements=shards.placements)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every rank; all ranks must call it if the tensor is sharded."""
    sharded = _sharded(tensor)
    return tensor if sharded is None else sharded.full_tensor()


def reshard(network: nn.Module) -> None:
    """Let FSDP2 take back what it shows whole: the outermost parameters stay so after a forward without backward."""
    if not _in_group():
        return
    from torch.distributed.fsdp import FSDPModule

    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


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
    sharded = _sharded(tensor)
    return (1 if sharded is None else _parts(sharded)) / world_size()


def _parts(sharded: "DTensor") -> int:
    return math.prod(sharded.device_mesh.size(i) for i, p in enumerate(sharded.placements) if p.is_shard())


def _cut(tensor: Tensor, like: "DTensor") -> Tensor:
    """This rank's part of a whole tensor, as FSDP2 cuts: equal parts of rows, as far as they go."""
    from torch.distributed.tensor import Shard

    for dim, placement in enumerate(like.placements):
        if isinstance(placement, Shard):
            chunks = tensor.chunk(like.device_mesh.size(dim), placement.dim)
            place = like.device_mesh.get_local_rank(dim)
            tensor = chunks[place] if place < len(chunks) else tensor.narrow(placement.dim, 0, 0)
    return tensor


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


class _SumOverShards(torch.autograd.Function):
    """The sum over ranks of shares; each rank's gradients are those of its own parts."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, shares: Tensor, slopes: Tensor) -> Tensor:
        ctx.save_for_backward(slopes)
        return sum_over_ranks(sums @ shares)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient * ctx.saved_tensors[0], None, None


def _in_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def _sharded(tensor: Tensor) -> "DTensor | None":
    if not _in_group():
        return None
    from torch.distributed.tensor import DTensor

    return tensor if isinstance(tensor, DTensor) else None
