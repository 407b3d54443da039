"""A row of the table."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_losses.losses import Loss

Array = NDArray[np.float64]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Case:
    """A row.

    Args:
        id: the loss and its variant.
        loss: makes the loss; takes `reduction` unless the loss has none.
        inputs: from (generator, number of samples) to (input, target), both in float64 unless integer.
        value: the mean, from (input, target, weight of each element).
        reference: what the uninformed predictor scores, from (target, weight); None where there is no such predictor.
        lower: the least value there is, from (target, weight).
        dims: dimensions along which elements can be deleted, repeated and permuted.
        elementwise: whether an element's value does not depend on the other elements.
        pooled: whether statistics of parts of a batch add up to those of the batch.
        weighable: whether elements can have weights.
        weighs_reference: whether the reference knows of the weights.
        divisible: whether one sample alone has a value, which the batch's is made of.
        per_rank: whether each rank's value is that of its own elements, so that ranks do not equal one process.
        ragged: whether ranks may have different numbers of elements.
        extreme: from (generator, magnitude) to inputs as large as that.
        inside: brings any input to the nearest that the loss takes.
        searched: the number of samples in the search for the bounds; some are attained by a number of samples only.
        twice: whether there is a second derivative.
        frozen: whether a statistic of the input is a constant to the gradient, which is then not the value's derivative.
    """

    id: str
    loss: Callable[..., Loss]
    inputs: Callable[[torch.Generator, int], Pair]
    value: Callable[[Array, Array, Array], float]
    reference: Callable[[Array, Array], float] | None
    lower: Callable[[Array, Array], float] = lambda y, w: 0.0
    dims: tuple[int, ...] = (0,)
    elementwise: bool = True
    pooled: bool = True
    weighable: bool = True
    weighs_reference: bool = True
    divisible: bool = True
    per_rank: bool = False
    ragged: bool = False
    extreme: Callable[[torch.Generator, float], Pair] | None = None
    inside: Callable[[Tensor], Tensor] = lambda input: input
    searched: int = 3
    twice: bool = True
    frozen: bool = False

    def extremes(self, generator: torch.Generator, magnitude: float) -> Pair:
        """Inputs of random signs and the given magnitude."""
        if self.extreme is not None:
            return self.extreme(generator, magnitude)
        input, target = self.inputs(generator, 2)
        signs = torch.randint(0, 2, input.shape, generator=generator) * 2 - 1
        return self.inside((signs * magnitude).to(input.dtype)), target

    def elements(self, target: Tensor) -> tuple[int, ...]:
        """The shape of the weights and masks of the elements."""
        axis = self.loss().element_axis(target)
        return tuple(target.shape if axis is None else target.select(axis, 0).shape)

    @property
    def has_reduction(self) -> bool:
        """Whether the loss can be had as a sum and per element."""
        return "reduction" in inspect.signature(type(self.loss())).parameters

    @property
    def is_public(self) -> bool:
        """Whether the loss is the library's own, not one that is called in the table's way for the tests."""
        return type(self.loss()).__module__.startswith("lightning_losses.")

    @property
    def has_guess(self) -> bool:
        """Whether there is a prediction that knows nothing."""
        input, target = self.inputs(torch.Generator().manual_seed(0), 3)
        return self.loss().uninformed(input, target) is not None

    @property
    def ignore_index(self) -> int | None:
        """The label that the loss ignores."""
        return getattr(self.loss(), "ignore_index", None)
