"""What is measured between two optimizer steps, over all micro-batches and ranks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_losses.balancers.base import Present
from lightning_losses.balancers.branches import BackwardProbe
from lightning_losses.balancers.probe import Probe
from lightning_losses.distributed import sum_over_ranks, world_size
from lightning_losses.numerics import at_least_float32, safe_divide


@dataclass(frozen=True)
class Measurement:
    """Means over the global batch of one optimizer step.

    Args:
        losses: mean loss of each term, [T]; 0 where `seen` is False.
        seen: which terms occurred at all, [T].
        products: inner products [T, T] or squared norms [T] of the gradients of the averaged losses; None if they
            were not measured.
    """

    losses: Tensor
    seen: Tensor
    products: Tensor | None


class Window:
    """Sums over the micro-batches of one optimizer step; closing it adds the ranks and empties it.

    It is always empty at a step boundary, so a checkpoint need not know of it.

    Args:
        terms: T, the number of balanced terms.
        pairwise: whether inner products of gradients are wanted, or squared norms only.
    """

    def __init__(self, terms: int, pairwise: bool = False) -> None:
        self.terms = terms
        self.pairwise = pairwise
        self.discard()

    def discard(self) -> None:
        """Forget what was added since the last step."""
        self._micro_batches = 0
        self._losses_and_counts: Tensor | None = None
        self._gradients: Tensor | None = None
        self._probe: type[Probe] | None = None
        self._expected: list[tuple[BackwardProbe, Present]] = []

    def add(self, losses: Tensor, present: Present, probe: Probe | None) -> None:
        """Add one micro-batch: its losses and, where a probe is given, their gradients.

        Raises:
            ValueError: inner products are wanted of branches, whose backward shows no two gradients at a time.
        """
        if self.pairwise and isinstance(probe, BackwardProbe):
            raise ValueError(
                "Branches show the norms of the gradients only, and only after the backward; this balancer needs inner "
                "products: pass shared=features instead."
            )
        self._collect()
        losses = at_least_float32(losses.detach())
        values = _spread(torch.stack([losses, torch.ones_like(losses)]), present, self.terms, dim=1)
        self._losses_and_counts = values if self._losses_and_counts is None else self._losses_and_counts + values
        if isinstance(probe, BackwardProbe):
            self._expected.append((probe, present))
        elif probe is not None:
            self._add_gradients(probe, present)

    def _collect(self) -> None:
        """Take in what the backwards of the last micro-batches have shown; several calls may share one."""
        for probe, present in self._expected:
            if probe.has_passed:
                self._add_gradients(probe, present)
        self._expected = [(probe, present) for probe, present in self._expected if not probe.has_passed]

    def _add_gradients(self, probe: Probe, present: Present) -> None:
        sums = _spread(probe.sums(self.pairwise), present, self.terms, dim=0)
        if self.pairwise and probe.sums_are_products:
            sums = _spread(sums, present, self.terms, dim=1)
        self._gradients = sums if self._gradients is None else self._gradients + sums
        self._micro_batches += 1
        self._probe = type(probe)

    def close(self) -> Measurement | None:
        """The measurement of the step, the same on every rank; None if nothing was added."""
        self._collect()
        if self._losses_and_counts is None:
            return None
        if self._expected and self._gradients is None:
            raise RuntimeError(
                "No backward has come by the branches in this step, so there is nothing to balance by. Call step() "
                "after loss.backward(), or discard() if the step was not taken."
            )
        sums, counts = sum_over_ranks(self._losses_and_counts)
        products = None
        if self._gradients is not None and self._probe is not None:
            parts = self._micro_batches * world_size()
            products = self._probe.products(sum_over_ranks(self._gradients), parts, self.pairwise)
        self.discard()
        return Measurement(safe_divide(sums, counts), counts > 0, products)


def _spread(values: Tensor, present: Present, terms: int, dim: int) -> Tensor:
    """Rows of the present terms at their places among all terms, 0 elsewhere."""
    if isinstance(present, slice):
        return values
    shape = list(values.shape)
    shape[dim] = terms
    return values.new_zeros(shape).index_copy(dim, present, values)
