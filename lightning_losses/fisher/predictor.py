"""A network's outputs on some samples as a function of its parameters."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from lightning_losses.checks import message
from lightning_losses.curvature.estimate import Parameters
from lightning_losses.curvature.gathering import check_gathered, gathered
from lightning_losses.sharding import is_sharded

Predict = Callable[[Any], Tensor]
"""From the inputs of a batch to the outputs of a network that it calls."""


class Predictor(nn.Module):
    """Calls a network with other parameters in the place of its own; no graph leads to its own.

    Where FSDP2 has sharded the network its layers see what FSDP2 gathers, and the graph leads to the given shards.

    Args:
        network: what holds the parameters.
        predict: what calls it; None for the network itself.
    """

    def __init__(self, network: nn.Module, predict: Predict | None) -> None:
        super().__init__()
        self.network = network
        self.predict = predict
        self.is_sharded = any(map(is_sharded, network.parameters()))

    def at(self, parameters: Parameters, inputs: Any) -> Tensor:
        """The outputs, [N, ...]; N is the number of samples.

        Raises:
            ShardedError: a sharded parameter is used otherwise than by calling the layer that owns it.
        """
        state = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        if not self.is_sharded:
            state |= {name: p.detach() for name, p in self.network.named_parameters()} | dict(parameters)
        with gathered(self.network, parameters) if self.is_sharded else nullcontext():
            outputs = functional_call(self, {f"network.{name}": tensor for name, tensor in state.items()}, (inputs,))
        if not isinstance(outputs, Tensor) or outputs.ndim < 2:
            found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ValueError(message("network", "a module that returns outputs [N, ...] (see `predict`)", found))
        if self.is_sharded:
            check_gathered(outputs)
        return outputs

    def forward(self, inputs: Any) -> Tensor:
        """The outputs with the present parameters."""
        outputs: Tensor = self.network(inputs) if self.predict is None else self.predict(inputs)
        return outputs


def samples(inputs: Any, chosen: Tensor) -> Any:
    """Some samples of a batch: rows of a tensor, or of all tensors in a (nested) sequence or mapping."""
    if isinstance(inputs, Tensor):
        return inputs[chosen]
    if isinstance(inputs, Mapping):
        return {key: samples(value, chosen) for key, value in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        return [samples(value, chosen) for value in inputs]
    return inputs


def is_empty(inputs: Any) -> bool:
    """Whether a batch has no sample: its first tensor has no row.

    >>> import torch
    >>> is_empty({"name": "a name", "nested": [torch.zeros(0, 2)]})
    True
    """
    return next((len(tensor) == 0 for tensor in _tensors(inputs)), False)


def _tensors(inputs: Any) -> Iterator[Tensor]:
    if isinstance(inputs, Tensor):
        yield inputs
    elif isinstance(inputs, (Mapping, list, tuple)):
        for value in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from _tensors(value)
