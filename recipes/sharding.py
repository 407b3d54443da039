"""Recipes whose parameters lie on the ranks in shards: FSDP2, under Lightning's ModelParallelStrategy."""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import nn


def shard(model: LightningModule, network: nn.Module) -> None:
    """Where the strategy has a device mesh, let FSDP2 shard a network over it, block by block.

    For `configure_model`, which Lightning calls for every stage: what is sharded already stays as it is.

    Args:
        model: the LightningModule.
        network: a part of it; its `blocks` are gathered one at a time.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if model.device_mesh is None or isinstance(network, FSDPModule):
        return
    network.to(memory_format=torch.contiguous_format)  # FSDP2 shards no other
    for part in (*blocks(network), network):
        fully_shard(part, mesh=model.device_mesh["data_parallel"])


def broadcast_buffers(model: LightningModule, network: nn.Module) -> None:
    """Where `shard` has, give every rank the running statistics of rank 0, as DDP does by itself.

    For `on_after_backward`: FSDP2 leaves buffers alone, and of those that differ a checkpoint would hold some of each
    rank.
    """
    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    if model.device_mesh is None or not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    dist.broadcast(flat, src=0)
    for buffer, part in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The parts of a network that have parameters: its children, those in lists and dicts, and those of an only child.

    >>> [type(block).__name__ for block in blocks(nn.Sequential(nn.ModuleList([nn.Linear(1, 1), nn.LayerNorm(1)])))]
    ['Linear', 'LayerNorm']
    """
    children = [child for child in network.children() if any(True for _ in child.parameters())]
    for child in children:
        opened = len(children) == 1 or isinstance(child, nn.ModuleList | nn.ModuleDict)
        yield from blocks(child) if opened else [child]
