"""One forward of a network, and backwards from chosen cotangents that end in squared norms by sample."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakMethod

import torch
from torch import Tensor, nn

from lightning_losses.curvature.checkpointing import keeping_activations
from lightning_losses.curvature.estimate import Objective, Parameters
from lightning_losses.curvature.graph import consumers
from lightning_losses.curvature.loss_calls import LossCall, record_loss_calls
from lightning_losses.curvature.loss_hessian import Factor, factors
from lightning_losses.curvature.products import checked_loss, leaves, recording
from lightning_losses.curvature.sample_layers import Layers, listening
from lightning_losses.curvature.sample_norms import sample_norms
from lightning_losses.numerics import widest


@dataclass(frozen=True)
class Source:
    """A part of the loss's Hessian in the outputs of one call.

    Args:
        call: the call of a loss.
        factor: S of one sign.
    """

    call: LossCall
    factor: Factor

    @property
    def rows(self) -> int:
        """The length of the outputs' first axis, unless an element lies along it."""
        return self.factor.shape[0] if len(self.factor.shape) > 0 and self.factor.axis != 0 else 1


class Squares(NamedTuple):
    """Squared norms of gradients, by column (see `Columns`).

    Args:
        samples: of layers whose rows are samples, [samples, columns].
        whole: of the other parameters, [columns].
    """

    samples: Tensor
    whole: Tensor

    def times(self, factor: float) -> "Squares":
        """All of them times a number."""
        return Squares(factor * self.samples, factor * self.whole)

    def plus(self, other: "Squares") -> "Squares":
        """The sum of two of the same forward."""
        return Squares(self.samples + other.samples, self.whole + other.whole)


class SamplePass:
    """A forward with hooks in place, from which as many backwards as wanted can start.

    Args:
        objective: the loss on one batch, which calls the network once.
        parameters: those whose gradients are wanted.
        layers: those whose gradients are taken by sample; no gradient of their parameters is formed.
        weights: what the squared norm of each parameter's gradient counts in each column, [columns], by name.

    Attributes:
        sources: where backwards can start.
        whole: the other parameters that the outputs depend on.
        samples: into how many blocks of rows that do not mix layers and outputs can be cut.
        irregular: layers that were called twice, or whose parameters something else uses too, unlike in the forward
            that they were chosen in: their squares are not to be trusted.
    """

    def __init__(
        self, objective: Objective, parameters: Parameters, layers: Layers, weights: Mapping[str, Tensor]
    ) -> None:
        self._layers, self._weights = layers, weights
        rows = list[int]()
        at, heard = leaves(parameters), Counter[nn.Module]()
        take = WeakMethod(self._take)  # the graph must not hold what holds it: no collector would find that cycle

        def listen(layer: nn.Module, input: Tensor, output: Tensor) -> None:
            heard[layer] += 1
            if output.requires_grad:
                rows.append(len(output))
                output.register_hook(partial(_call, take, layer, input.detach()))  # type: ignore[no-untyped-call]

        with (
            recording(),
            keeping_activations(),
            listening(layers, listen, detached=True) as self._roots,
            record_loss_calls() as calls,
        ):
            total = checked_loss(objective(at))
        used = calls.coefficients(total)
        self.sources = [Source(call, factor) for call, slope in used for factor in factors(call, slope)]
        uses = consumers(call.outputs for call, _ in used)
        self.whole = {name: leaf for name, leaf in at.items() if uses[id(leaf)]}
        twice = {layer for layer in layers if heard[layer] > 1}
        self.irregular = twice | {layer for layer, names in layers.items() if self.whole.keys() & names.values()}
        self.samples = math.gcd(*rows, *(source.rows for source in self.sources))
        self._nothing = torch.zeros_like(next(iter(weights.values())))

    def backward(self, cotangents: Iterable[tuple[Source, Tensor]]) -> Squares:
        """Squared norms of what the sum of the cotangents at the outputs gives to the parameters."""
        self._squares = Squares(self._nothing.repeat(max(self.samples, 1), 1), self._nothing.clone())
        starts = list(cotangents)
        if not starts:
            return self._squares
        ends = [source.call.outputs for source, _ in starts]
        wanted = [*self._roots, *self.whole.values()]
        cast = [cotangent.to(end.dtype) for end, (_, cotangent) in zip(ends, starts, strict=True)]
        found = torch.autograd.grad(ends, wanted, cast, retain_graph=True, allow_unused=True)
        for name, gradient in zip(self.whole, found[len(self._roots) :], strict=True):
            if gradient is not None:
                self._squares.whole.add_(widest(gradient).square().sum() * self._weights[name])
        return self._squares

    def _take(self, layer: nn.Module, input: Tensor, gradient: Tensor) -> None:
        """A hook on a layer's output; weights may have become those of the training again."""
        with torch.no_grad():
            norms = sample_norms(layer, input, gradient)
        for own, name in self._layers[layer].items():
            samples = widest(norms[own]).view(len(self._squares.samples), -1).sum(1)
            self._squares.samples.add_(samples.unsqueeze(1) * self._weights[name])


def _call(method: WeakMethod[Any], *args: Any) -> None:
    taker = method()
    if taker is not None:
        taker(*args)
