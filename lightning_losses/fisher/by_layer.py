"""Sums over samples from one forward of a batch and backwards to the outputs of its layers."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from lightning_losses.curvature.checkpointing import keeping_activations
from lightning_losses.curvature.estimate import Parameters
from lightning_losses.curvature.graph import consumers
from lightning_losses.curvature.products import leaves, recording
from lightning_losses.curvature.sample_layers import Layers, Outputs, eligible, layers_of, listening
from lightning_losses.fisher.layer_sums import Magnitude, layer_sums
from lightning_losses.fisher.predictor import Predictor


def separate_layers(predictor: Predictor, parameters: Parameters, inputs: Any) -> Layers | None:
    """Layers whose rows are the samples, and those of their parameters that nothing else uses; the graph tells.

    None if there is but one sample: it does not show what several would do.
    """
    at, seen = leaves(parameters), Outputs()
    candidates = layers_of(predictor.network, parameters)
    with recording(), keeping_activations(), listening(candidates, seen):
        outputs = predictor.at(at, inputs)
    if len(outputs) == 1:
        return None
    if not outputs.requires_grad:
        return {}
    found = eligible(candidates, seen, [outputs], at)
    return {layer: names for layer, names in found.items() if len(seen.outputs[layer]) == len(outputs)}


class LayerPass:
    """A forward of a batch, from which as many backwards as wanted can start. No gradient of a weight is formed.

    Args:
        predictor: the network's outputs.
        parameters: those whose sums are wanted.
        layers: those whose sums are taken from activations; found for another batch.
        inputs: the batch.

    Attributes:
        outputs: of the network.
        layers: those that this batch went through just as that other one.
        others: the parameters that the outputs depend on, but for those of the layers.
    """

    def __init__(self, predictor: Predictor, parameters: Parameters, layers: Layers, inputs: Any) -> None:
        at, heard = leaves(parameters), Counter[nn.Module]()
        self._places: dict[nn.Module, tuple[Tensor, GradientEdge]] = {}

        def listen(layer: nn.Module, input: Tensor, output: Tensor) -> None:
            heard[layer] += 1
            self._places[layer] = input.detach(), get_gradient_edge(output)  # as it is before it is changed in place

        with recording(), keeping_activations(), listening(layers, listen, detached=True):
            self.outputs = predictor.at(at, inputs)
        used = consumers([self.outputs])
        elsewhere = {name for name, leaf in at.items() if used[id(leaf)]}
        self.layers = {
            layer: names
            for layer, names in layers.items()
            if heard[layer] <= 1 and not elsewhere.intersection(names.values())
        }
        dropped = {name for layer in layers.keys() - self.layers.keys() for name in layers[layer].values()}
        self.others = [name for name in parameters if name in elsewhere | dropped]

    def backward(self, cotangent: Tensor, magnitude: Magnitude) -> Iterator[tuple[str, Tensor]]:
        """What a cotangent at the outputs gives to the layers' parameters, by name in the network, layer by layer."""
        layers = [layer for layer in self.layers if layer in self._places]
        if not layers:
            return
        edges = [self._places[layer][1] for layer in layers]
        start = cotangent.to(self.outputs.dtype)
        gradients = torch.autograd.grad(self.outputs, edges, start, retain_graph=True, allow_unused=True)
        for layer, gradient in zip(layers, gradients, strict=True):
            if gradient is not None:
                with torch.no_grad():
                    own = layer_sums(layer, self._places[layer][0], gradient, magnitude)
                yield from ((name, own[parameter]) for parameter, name in self.layers[layer].items())
