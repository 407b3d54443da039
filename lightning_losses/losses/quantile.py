"""Losses of predicted quantiles."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape, message
from lightning_losses.functional.quantile import empirical_quantile, pinball, quantile_crossing
from lightning_losses.losses.base import ElementwiseLoss, UnaryLoss
from lightning_losses.losses.inputs import check_finite
from lightning_losses.reduction import Parts


class Quantile(ElementwiseLoss):
    r"""Pinball loss, the mean of :math:`\tau \max(y - x, 0) + (1 - \tau) \max(x - y, 0)`.

    Koenker and Bassett, "Regression quantiles", 1978. For intervals without an assumption on the noise: the prediction
    that minimises it is the :math:`\tau`-quantile of what may be true given the input, and several of them make
    intervals. Half the absolute error for :math:`\tau = 1/2`. Range :math:`[0, \infty)`; reference: what the empirical
    quantiles of each batch's targets score.

    One number `quantiles` takes an input of the shape of the target. A sequence of Q numbers takes an input [N, Q, *]
    against a target [N, *], and an element's value is the mean over the Q quantiles.

    Traps: nothing keeps several quantiles in order: see `QuantileCrossing`. The gradient is 0 where a residual is 0,
    and the Hessian 0 everywhere.

    Args:
        quantiles: :math:`\tau` in (0, 1), or an increasing sequence of them.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values of the shape of the target).

    Raises:
        ValueError: `quantiles` out of range or not increasing, shapes that do not fit, a target that is not finite.

    >>> import torch
    >>> Quantile(quantiles=[0.1, 0.5, 0.9])(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([1.0]))  # (.1 + 0 + .1) / 3
    tensor(0.0667)
    """

    levels: Tensor

    def __init__(self, *, quantiles: float | Sequence[float] = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        several = tuple(quantiles) if isinstance(quantiles, Sequence) else (quantiles,)
        for quantile in several:
            check_number("quantiles", quantile, above=0, below=1)
        if not several or any(low >= high for low, high in pairwise(several)):
            raise ValueError(message("quantiles", "one or more increasing numbers", quantiles))
        self.quantiles = several if isinstance(quantiles, Sequence) else quantiles
        self.register_buffer("levels", torch.tensor(several, dtype=torch.float32, device="cpu"), persistent=False)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Pinball losses of the shape of `target`."""
        check_finite("target", target)
        if isinstance(self.quantiles, float):
            check_same_shape("input", input, "target", target)
            return Parts(pinball(input, target, self.quantiles))
        expected = (*target.shape[:1], len(self.levels), *target.shape[1:])
        if target.dim() == 0 or input.shape != expected:
            rule = "of the shape [N, Q, *] of the target [N, *] and Q quantiles, here " + str(expected)
            raise ValueError(message("input", rule, tuple(input.shape)))
        return Parts(pinball(input, target.unsqueeze(1), self._along(self.levels, input)).mean(1))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """The empirical quantiles of the targets."""
        return self._along(empirical_quantile(target.to(input.dtype), self.levels), input).expand_as(input)

    def _along(self, values: Tensor, input: Tensor) -> Tensor:
        """One value per quantile, laid along the axis of quantiles."""
        return values[0] if isinstance(self.quantiles, float) else values.reshape(-1, *[1] * (input.dim() - 2))


class QuantileCrossing(UnaryLoss):
    r"""A penalty for predicted quantiles in the wrong order, the mean of :math:`\sum_q \max(x_q - x_{q+1}, 0)`.

    For several quantiles of one model, beside `Quantile` and in its unit: input [N, Q, *] in increasing order of the
    quantiles. A model that puts the 0.9 quantile below the 0.5 one pays the distance between the two. Range
    :math:`[0, \infty)`, and no reference: a constant has no crossing either.

    Trap: it lowers the number of crossings and does not forbid them: sort the predictions where they must not cross.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        ValueError: `input` has no axis of at least 2 quantiles.

    >>> import torch
    >>> QuantileCrossing()(torch.tensor([[1.0, 2.0, 3.0], [1.0, 4.0, 3.0]]))
    tensor(0.5000)
    """

    def element_axis(self, target: Tensor) -> int:
        """That of the quantiles."""
        return 1

    def of(self, input: Tensor) -> Parts:
        """How far the quantiles cross [N, *]."""
        if input.dim() < 2 or input.shape[1] < 2:
            raise ValueError(message("input", "of shape [N, Q, *] with at least 2 quantiles", tuple(input.shape)))
        return Parts(quantile_crossing(input))
