"""The shell around a formula: it converts, checks, reduces, and knows its bounds."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_choice
from lightning_losses.distributed import sum_over_ranks
from lightning_losses.numerics import at_least_float32
from lightning_losses.reduction import REDUCTIONS, Parts, reduce


class Loss(nn.Module, ABC):
    """A loss between a prediction `input` and a `target`.

    A subclass gives `parts` (its per-element values and counts) and, where one exists, `uninformed` (the prediction of
    a model that knows nothing). Everything else follows: reduction, weights, masks, statistics over ranks, the
    reference of its bounds.

    Args:
        reduction: ``"mean"`` (over all ranks' unmasked elements), ``"sum"`` or ``"none"``.
    """

    lower: ClassVar[float] = 0.0
    upper: ClassVar[float] = math.inf

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = check_choice("reduction", reduction, REDUCTIONS)

    @abstractmethod
    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """Per-element values and counts; `input` arrives in float32 or wider."""

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor | None:
        """What a model that knows nothing of the input would predict, shaped like `input`; None if there is no such.

        Floating targets of masked elements arrive as NaN: take `nanmean` or `nanmedian` of them.
        """
        return None

    @final
    def forward(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The reduced loss, in float32 or wider.

        Args:
            input: the prediction.
            target: the truth.
            weight: per-element weights, broadcast to the per-element values; 2 counts as the element twice.
            mask: per-element boolean, broadcast likewise; False counts as the element deleted.
        """
        return reduce(self._parts(input, target, weight, mask), self.reduction)

    @torch.no_grad()
    def statistics(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """What `bounds` needs to know of the data: a 1-d float64 tensor, to be added over batches; summed over ranks.

        It holds the (sum, count) that the uninformed prediction scores on this batch; it is empty where there is no
        such prediction.
        """
        known = target
        if mask is not None and target.is_floating_point() and mask.shape == target.shape:
            known = torch.where(mask, target, torch.full_like(target, math.nan))
        guess = self.uninformed(at_least_float32(input.detach()), known)
        if guess is None:
            return torch.empty(0)
        parts = self._parts(guess, target, weight, mask)
        statistics = torch.stack(parts.sum_and_count())
        if input.device.type != "mps":  # which has no float64
            statistics = statistics.double()
        return statistics if parts.is_global else sum_over_ranks(statistics)

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """The range of the loss, with the reference if the data's `statistics` are given.

        With ``reduction="sum"`` the scale depends on the number of elements: the bounds keep only their signs, and
        there is no reference.
        """
        if self.reduction == "sum":
            return Bounds(0.0 if self.lower >= 0 else -math.inf, 0.0 if self.upper <= 0 else math.inf)
        reference = None if statistics is None or statistics.numel() == 0 else statistics[0] / statistics[1]
        return Bounds(self.lower, self.upper, reference)

    def _parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        if mask is not None and target.is_floating_point() and mask.shape == target.shape:
            target = torch.where(mask, target, torch.zeros_like(target))  # a NaN label of a masked element is no label
        return self.parts(at_least_float32(input), target, weight, mask)


class ElementwiseLoss(Loss):
    """A loss whose elements do not know of each other: `elements` is its formula."""

    @abstractmethod
    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Per-element values, and counts where an element may count other than 1."""

    @final
    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """The elements, weighted and masked."""
        return self.elements(input, target).weighted(weight, mask)
