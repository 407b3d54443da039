"""One forward of a network, and backwards from chosen cotangents that end in squared norms by sample."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from lightning_losses.curvature.estimate import Objective, Parameters
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


@dataclass
class Squares:
    """Squared norms of gradients, by column (layer group).

    Args:
        columns: their number.
        by_rows: of layers whose rows are samples: for each number of rows, [rows, columns].
        whole: of the other parameters, [columns].
    """

    columns: int
    by_rows: dict[int, Tensor] = field(default_factory=dict)
    whole: Tensor = field(default_factory=lambda: torch.zeros(0))

    def add(self, norms: Tensor, column: int) -> None:
        """Add the squared norms of one parameter, [rows]."""
        empty = widest(norms.new_zeros(len(norms), self.columns))
        self.by_rows.setdefault(len(norms), empty)[:, column] += norms

    def times(self, factor: float) -> "Squares":
        """All of them times a number."""
        return Squares(self.columns, {n: factor * rows for n, rows in self.by_rows.items()}, factor * self.whole)

    def plus(self, other: "Squares") -> "Squares":
        """The sum of two of the same network."""
        by_rows = {count: rows + other.by_rows.get(count, 0.0) for count, rows in self.by_rows.items()}
        return Squares(self.columns, by_rows, self.whole + other.whole)

    def samples(self) -> Tensor:
        """[samples, columns]: of layers with several rows a sample these are added; [0, columns] without any."""
        counts = list(self.by_rows)
        if not counts:
            return self.whole.new_zeros(0, self.columns)
        least = min(counts)
        least = least if all(count % least == 0 for count in counts) else 1
        return torch.stack([rows.view(least, -1, self.columns).sum(1) for rows in self.by_rows.values()]).sum(0)


class SamplePass:
    """A forward with hooks in place, from which as many backwards as wanted can start.

    Args:
        objective: the loss on one batch, which calls the network once.
        parameters: those whose gradients are wanted.
        layers: those whose gradients are taken by sample; their weights need no gradient.
        column_of: the column of each parameter, by name.
        columns: their number.
    """

    def __init__(
        self, objective: Objective, parameters: Parameters, layers: Layers, column_of: Mapping[str, int], columns: int
    ) -> None:
        self._layers, self._column_of, self._columns = layers, column_of, columns
        by_sample = {name for names in layers.values() for name in names.values()}
        self._whole = leaves({name: p for name, p in parameters.items() if name not in by_sample})
        self._squares = Squares(columns)
        at = {name: p.detach() for name, p in parameters.items()} | self._whole
        with recording(), listening(list(layers), self._listen) as self._roots, record_loss_calls() as calls:
            total = checked_loss(objective(at))
        self.sources = [
            Source(call, factor) for call, slope in calls.coefficients(total) for factor in factors(call, slope)
        ]

    def backward(self, cotangents: Iterable[tuple[Source, Tensor]]) -> Squares:
        """Squared norms of what the sum of the cotangents at the outputs gives to the parameters."""
        squares = self._squares = Squares(self._columns, whole=torch.zeros(self._columns, dtype=torch.float64))
        starts = list(cotangents)
        if not starts:
            return squares
        ends = [source.call.outputs for source, _ in starts]
        wanted = [*self._roots, *self._whole.values()]
        cast = [cotangent.to(end.dtype) for end, (_, cotangent) in zip(ends, starts, strict=True)]
        found = torch.autograd.grad(ends, wanted, cast, retain_graph=True, allow_unused=True)
        squares.whole = widest(ends[0].new_zeros(self._columns))
        for name, gradient in zip(self._whole, found[len(self._roots) :], strict=True):
            if gradient is not None:
                squares.whole[self._column_of[name]] += widest(gradient).square().sum()
        return squares

    def _listen(self, layer: nn.Module, input: Tensor, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(partial(self._take, layer, input.detach()))  # type: ignore[no-untyped-call]

    def _take(self, layer: nn.Module, input: Tensor, gradient: Tensor) -> None:
        """A hook on a layer's output; weights may have become those of the training again."""
        with torch.no_grad():
            norms = sample_norms(layer, input, gradient)
        for own, name in self._layers[layer].items():
            self._squares.add(norms[own], self._column_of[name])
