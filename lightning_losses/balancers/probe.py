r"""Measuring the gradients of several losses at the place that they share.

Everything is first order, in float32 or wider, and taken before the ordinary backward, which finds its graph
untouched. What is measured travels as sums that add over micro-batches and ranks:

- at **features**, the rows of micro-batches and ranks are disjoint, so the inner products of the gradients of the
  averaged loss are :math:`\langle g_i, g_j\rangle = \frac{1}{(NA)^2} \sum_{r,a} \langle g_i^{ra}, g_j^{ra}\rangle`;
- at **parameters**, the gradients themselves add, and inner products come last: the norm of the averaged gradient, not
  the average of norms, which overestimates noisy tasks.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_losses.numerics import at_least_float32

HALF_PRECISION_SCALE = 2.0**16
"""Loss scale for features in float16, whose gradients would underflow below 6e-8; what overflows is skipped."""
SCALER_MARGIN = 2.0**-4
"""Of a GradScaler's scale, which suits the weighted and accumulated total: a single term's gradient may be larger."""


class Probe(ABC):
    """Measures inner products of the losses' gradients at the shared tensors.

    Args:
        tensors: the shared tensors.
        losses: the losses by name, each with a graph of its own: out of a stacked tensor every gradient would travel
            through all of them.
        scaler: the GradScaler of the training, if it has one: float16 gradients are taken in its range.
    """

    sums_are_products: ClassVar[bool]
    """Whether what adds is the inner products themselves, [T, T], or rows of which they are to be taken."""

    def __init__(
        self, tensors: Sequence[Tensor], losses: Mapping[str, Tensor], scaler: torch.amp.GradScaler | None = None
    ) -> None:
        self.tensors = tensors
        self.losses = losses
        self.scaler = scaler

    @abstractmethod
    def sums(self, pairwise: bool) -> Tensor:
        """What of the gradients adds over micro-batches and ranks; one row a loss.

        Args:
            pairwise: whether all inner products are wanted, or the squared norms only.
        """

    @staticmethod
    @abstractmethod
    def products(sums: Tensor, parts: int, pairwise: bool) -> Tensor:
        """The inner products [T, T] (or squared norms [T]) of the averaged gradients.

        Args:
            sums: what `sums` returned, added over micro-batches and ranks.
            parts: how many micro-batches times ranks were added.
            pairwise: as it was given to `sums`.
        """

    def gradient(self, name: str) -> list[Tensor]:
        """The gradient of one loss at each shared tensor, in float32 or wider.

        Raises:
            ValueError: the loss does not depend on any of them; the message names the term.
        """
        scale = self._scale() if any(t.dtype == torch.float16 for t in self.tensors) else None
        loss = self.losses[name] if scale is None else self.losses[name] * scale
        gradients: Sequence[Tensor | None] = [None]
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, self.tensors, retain_graph=True, allow_unused=True)
        if all(g is None for g in gradients):
            raise ValueError(unreached(name))
        found = [torch.zeros_like(t) if g is None else g for g, t in zip(gradients, self.tensors, strict=True)]
        return [at_least_float32(g) if scale is None else at_least_float32(g) / scale for g in found]

    def _scale(self) -> Tensor | float:
        """Powers of two, so that multiplying and dividing by them is exact."""
        if self.scaler is None or not self.scaler.is_enabled():
            return HALF_PRECISION_SCALE
        return self.scaler.scale(torch.full((), SCALER_MARGIN, device=self.tensors[0].device))


class FeatureProbe(Probe):
    """Measures at features: one tensor or several through which all terms pass."""

    sums_are_products: ClassVar[bool] = True

    def sums(self, pairwise: bool) -> Tensor:
        """Squared norms [T], or inner products [T, T]."""
        if not pairwise:
            return torch.stack([_squared_norm(self.gradient(name)) for name in self.losses])
        rows = _flat_rows(map(self.gradient, self.losses), len(self.losses))
        return rows @ rows.T

    @staticmethod
    def products(sums: Tensor, parts: int, pairwise: bool) -> Tensor:
        """Divided by the square of what the averaged loss was divided by."""
        return sums / parts**2


class ParameterProbe(Probe):
    """Measures at parameters: the paper's choice is the last shared layer's weight."""

    sums_are_products: ClassVar[bool] = False

    def sums(self, pairwise: bool) -> Tensor:
        """The gradients [T, P], P the number of shared parameters."""
        return _flat_rows(map(self.gradient, self.losses), len(self.losses))

    @staticmethod
    def products(sums: Tensor, parts: int, pairwise: bool) -> Tensor:
        """Inner products of the averaged gradients."""
        mean = sums / parts
        return mean @ mean.T if pairwise else mean.square().sum(1)


def unreached(name: str) -> str:
    """What is wrong with a term that has no gradient at the shared place."""
    return (
        f"Term {name!r} does not reach the shared tensor, so its gradient there cannot be balanced. "
        "Pass `shared` features that the term's inputs are computed from (and outside of a compiled region), "
        "or take the term out of the balance with Term(..., balanced=False)."
    )


def _squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    norms = torch.stack(torch._foreach_norm(list(gradients)))
    return norms.square().sum()


def _flat_rows(gradients: Iterable[Sequence[Tensor]], rows: int) -> Tensor:
    """One row a loss, written as it comes: beside them only one loss's gradient is held."""
    matrix = torch.empty(0)
    for i, row in enumerate(gradients):
        flat = row[0].reshape(-1) if len(row) == 1 else torch.cat([g.reshape(-1) for g in row])
        if i == 0:
            matrix = flat.new_empty(rows, flat.numel())
        matrix[i] = flat
    return matrix
