"""The shell around a formula: it converts, masks, reduces, and knows its bounds."""

import inspect
import math
from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_choice, message
from lightning_losses.distributed import sum_over_ranks
from lightning_losses.numerics import at_least_float32, widest
from lightning_losses.reduction import REDUCTIONS, Parts, check_broadcast, reduce


class Loss(nn.Module, ABC):
    """A loss between a prediction `input` and a `target`.

    A subclass gives `parts` (its per-element values and counts) and says what it knows of its range: constants in
    `lower`, `upper` and `reference`, or, where these depend on the data, the predictions that attain them in `optimal`
    and `uninformed`. Everything else follows: reduction, weights, masks, statistics over ranks and batches, bounds.

    Args:
        reduction: ``"mean"`` (over all ranks' unmasked elements), ``"sum"`` or ``"none"``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("input", "target")  # the keywords of a LossModule's call that a term takes
    lower: float = 0.0
    upper: float = math.inf
    reference: float | None = None

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = check_choice("reduction", reduction, REDUCTIONS)

    @abstractmethod
    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """Per-element values and counts; `input` arrives in float32 or wider, the target of masked elements as 0."""

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor | None:
        """What a model that knows nothing of the input would predict, shaped like `input`; None if there is no such.

        Floating targets of masked elements arrive as NaN: take `nanmean` or `nanmedian` of them.
        """
        return None

    def optimal(self, input: Tensor, target: Tensor) -> Tensor | None:
        """The prediction of the least loss, shaped like `input`; None where that least loss is the constant `lower`."""
        return None

    def element_axis(self, target: Tensor) -> int | None:
        """The axis of `target` along which the numbers of one element lie; None if each number is an element."""
        return None

    def forward(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The reduced loss, in float32 or wider. Not to be overridden.

        Args:
            input: the prediction.
            target: the truth.
            weight: per-element weights, broadcast to the per-element values; 2 counts as the element twice.
            mask: per-element boolean, broadcast likewise; False counts as the element deleted, whatever its target is.
        """
        return reduce(self._parts(input, target, weight, mask), self.reduction)

    @torch.no_grad()
    def statistics(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """What `bounds` needs to know of the data: a 1-d float64 tensor, to be added over batches; summed over ranks.

        It holds the (sum, count) that the uninformed prediction scores on this batch and, where the lower bound depends
        on the data, the sum that the optimal one scores; it is empty where there is no uninformed prediction.
        """
        known = target
        if mask is not None and target.is_floating_point():
            known = self._fill_masked(target, mask, math.nan)
        guess = self.uninformed(at_least_float32(input), at_least_float32(known))
        if guess is None:
            return torch.empty(0)
        parts = self._parts(guess, target, weight, mask)
        sums = [*parts.sum_and_count()]
        best = self.optimal(at_least_float32(input), at_least_float32(known))
        if best is not None:
            sums.append(self._parts(best, target, weight, mask).sum_and_count()[0])
        statistics = widest(torch.stack(sums))
        return statistics if parts.is_global else sum_over_ranks(statistics)

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """The range of the loss, as far as it is known without data or from the sum of some batches' `statistics`.

        With ``reduction="sum"`` the scale depends on the number of elements: the bounds keep only their signs, and
        there is no reference.
        """
        if self.reduction == "sum":
            return Bounds(0.0 if self.lower >= 0 else -math.inf, 0.0 if self.upper <= 0 else math.inf)
        if statistics is None or statistics.numel() == 0:
            return Bounds(self.lower, self.upper, self.reference)
        uninformed, count, *optimal = statistics
        return Bounds(optimal[0] / count if optimal else self.lower, self.upper, uninformed / count)

    def __repr__(self) -> str:
        """The call that makes it, with the hyperparameters that differ from their defaults."""
        defaults = {name: parameter.default for name, parameter in inspect.signature(type(self)).parameters.items()}
        values = {name: getattr(self, name, default) for name, default in defaults.items()}
        plain = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in values.items()}
        given = ", ".join(f"{name}={value!r}" for name, value in plain.items() if value != defaults[name])
        return f"{type(self).__name__}({given})"

    def _parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        if mask is not None:
            target = self._fill_masked(target, mask, 0)  # may be NaN, or no class at all
        return self.parts(at_least_float32(input), at_least_float32(target), weight, mask)

    def _fill_masked(self, target: Tensor, mask: Tensor, value: float) -> Tensor:
        if mask.dtype != torch.bool:
            raise TypeError(message("mask", "boolean", mask.dtype))
        axis = self.element_axis(target)
        elements = target if axis is None else target.select(axis, 0)
        check_broadcast("mask", mask, elements)
        masked = ~mask.expand_as(elements)
        return target.masked_fill(masked if axis is None else masked.unsqueeze(axis), value)


class ElementwiseLoss(Loss):
    """A loss whose elements do not know of each other: `elements` is its formula."""

    @abstractmethod
    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Per-element values, and counts where an element may count other than 1."""

    @final
    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """The elements, weighted and masked."""
        return self.elements(input, target).weighted(weight, mask)


class UnaryLoss(Loss):
    """A loss of one tensor, with no truth to compare it with: `of` is its formula."""

    inputs: ClassVar[tuple[str, ...]] = ("input",)

    @abstractmethod
    def of(self, input: Tensor) -> Parts:
        """Per-element values, and counts where an element may count other than 1."""

    @final
    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """The elements, weighted and masked."""
        return self.of(input).weighted(weight, mask)

    def forward(
        self, input: Tensor, target: Tensor | None = None, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The reduced loss, in float32 or wider; `target` is not looked at. Not to be overridden."""
        return super().forward(input, input.detach(), weight, mask)

    def statistics(
        self, input: Tensor, target: Tensor | None = None, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """As `Loss.statistics`; `target` is not looked at."""
        return super().statistics(input, input.detach(), weight, mask)
