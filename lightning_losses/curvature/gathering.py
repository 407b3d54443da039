"""Parameters that FSDP2 shards, as the layers of a network see them while it runs: whole, and one layer at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses.curvature.graph import is_leaf, node_of, nodes_below
from lightning_losses.sharding import reshard


class ShardedError(RuntimeError):
    """Something needs parameters whole that lie on the ranks in shards."""


@contextmanager
def gathered(network: nn.Module, shards: Mapping[str, Tensor]) -> Iterator[None]:
    """Layers compute with what FSDP2 gathers for them, and the graph leads to the given shards.

    Neither the training's parameters nor the memory that they are gathered in get a gradient. What the graph leads to
    can be asked, as `consumers` and `certify` do, and gradients of activations pass; a gradient of a shard is refused.

    Args:
        network: a network to which fully_shard was applied.
        shards: tensors of the parameters that the graph is to lead to, by their names in the network. The others are
            constants.
    """
    replaced: dict[nn.Module, dict[str, Tensor | None]] = {}
    names = {layer: prefix for prefix, layer in network.named_modules() if layer._parameters}

    def replace(layer: nn.Module, args: Any) -> None:
        replaced[layer] = dict(layer._parameters)
        for own, whole in replaced[layer].items():
            if whole is not None and whole.requires_grad:  # else it is frozen, or `listening` has detached it
                shard = shards.get(f"{names[layer]}.{own}" if names[layer] else own)
                constant = whole.detach()
                seen = constant if shard is None else _Gathered.apply(shard, constant)
                layer._parameters[own] = seen  # type: ignore[assignment]

    def put_back(layer: nn.Module, args: Any, output: Any) -> None:
        layer._parameters.update(replaced.pop(layer, {}))  # type: ignore[arg-type]

    hooks = [layer.register_forward_pre_hook(replace) for layer in names]
    hooks += [layer.register_forward_hook(put_back, prepend=True, always_call=True) for layer in names]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
        reshard(network)


def set_up(network: nn.Module) -> None:
    """Let FSDP2 finish what it leaves to the first forward: undoing a replay would undo what it registers there."""
    from torch.distributed.fsdp import FSDPModule

    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.unshard()
            module.reshard()


def check_gathered(loss: Tensor) -> None:
    """The graph of a loss must lead to shards alone.

    Raises:
        ShardedError: it leads to a parameter that was used otherwise than by calling its layer.
    """
    leaves = (node.variable for node in nodes_below([node_of(loss)]) if is_leaf(node))
    if any(isinstance(leaf, nn.Parameter) for leaf in leaves):
        raise ShardedError(
            "The network uses a sharded parameter otherwise than by calling the layer that owns it, and then what is "
            "due to it cannot be told."
        )


class _Gathered(torch.autograd.Function):
    """The whole of a parameter as a function of a shard of it."""

    @staticmethod
    def forward(ctx: Any, shard: Tensor, whole: Tensor) -> Tensor:
        return whole.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        raise ShardedError("The gradient of a parameter is wanted that lies on the ranks in shards.")
