"""Losses of regression."""

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_number, check_same_shape
from lightning_losses.distributed import sum_over_ranks
from lightning_losses.functional.regression import absolute_error, smooth_l1, squared_error
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import check_finite
from lightning_losses.numerics import widest
from lightning_losses.reduction import Parts


class ResidualLoss(ElementwiseLoss):
    """A loss of numbers against numbers: `residuals` is its formula, and to know nothing is to say the median."""

    @abstractmethod
    def residuals(self, input: Tensor, target: Tensor) -> Tensor:
        """What the residuals cost, of the shape of both."""

    @final
    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """One value per number."""
        check_same_shape("input", input, "target", target)
        check_finite("target", target)
        return Parts(self.residuals(input, target))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """The median target."""
        return target.to(input.dtype).nanmedian().expand_as(input)


class MSE(ResidualLoss):
    r"""Mean squared error, :math:`\frac1n \sum_e (x_e - y_e)^2`.

    For noise that is about normal: the best prediction is the mean of what may be true. Range :math:`[0, \infty)`;
    reference Var(y), the variance of all targets seen, which their mean would score; so the normalised value is
    :math:`1 - R^2`.

    Trap: outliers rule it, one residual of 10 weighs as much as a hundred of 1. Half-precision inputs are squared in
    float32 (a float16 residual of 256 would overflow).

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `input` and `target` differ in shape (torch would broadcast [N, 1] against [N] to [N, N]), or a
            target is not finite.

    >>> import torch
    >>> MSE()(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor(2.)
    """

    def residuals(self, input: Tensor, target: Tensor) -> Tensor:
        """Squared residuals."""
        return squared_error(input, target)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean target."""
        return target.to(input.dtype).nanmean().expand_as(input)

    @torch.no_grad()
    def statistics(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The sums of :math:`y^2`, of :math:`y` and of the counts: unlike variances, these add up over batches."""
        target = widest(target)
        total, count = Parts(target).weighted(weight, mask).sum_and_count()
        squares, _ = Parts(target.square()).weighted(weight, mask).sum_and_count()
        return sum_over_ranks(torch.stack([squares, total, count]))

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """From 0; the reference is the variance of the targets that the `statistics` were taken of."""
        if self.reduction == "sum" or statistics is None or statistics.numel() == 0:
            return super().bounds()
        squares, total, count = statistics
        return Bounds(self.lower, self.upper, (squares / count - (total / count).square()).clamp(min=0))


class MAE(ResidualLoss):
    r"""Mean absolute error, :math:`\frac1n \sum_e |x_e - y_e|`.

    For the median of what may be true: an outlier pulls no harder than any other residual, however far it is. Range
    :math:`[0, \infty)`; reference: what the median of each batch's targets scores.

    Traps: nor does a small residual pull less, so the step size has to shrink for training to settle. The gradient is 0
    where a residual is 0. The Hessian is 0 everywhere: curvature monitors see nothing of this loss.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `input` and `target` differ in shape, or a target is not finite.

    >>> import torch
    >>> MAE()(torch.tensor([1.0, 4.0]), torch.tensor([1.0, 1.0]))
    tensor(1.5000)
    """

    def residuals(self, input: Tensor, target: Tensor) -> Tensor:
        """Absolute residuals."""
        return absolute_error(input, target)


class SmoothL1(ResidualLoss):
    r"""Smooth absolute error: :math:`e^2 / 2\beta` where :math:`|e| < \beta`, else :math:`|e| - \beta/2`.

    For targets with outliers, as corners of boxes: an outlier pulls no harder than any other residual beyond
    :math:`\beta`. Girshick, "Fast R-CNN", 2015. Range :math:`[0, \infty)`; reference: what the median of each batch's
    targets scores.

    Trap: `Huber` with :math:`\delta = \beta` is :math:`\beta` times this one. Here :math:`\beta` sets the slope near 0,
    and far out it is 1.

    Args:
        beta: where the parabola turns into a line, at least 0. At 0 it is the mean absolute error, whose Hessian is 0:
            curvature monitors see nothing of it.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `beta` is negative, `input` and `target` differ in shape, or a target is not finite.

    >>> import torch
    >>> SmoothL1(beta=0.0)(torch.tensor([1.0, 4.0]), torch.tensor([1.0, 1.0]))
    tensor(1.5000)
    """

    def __init__(self, *, beta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.beta = check_number("beta", beta, at_least=0)

    def residuals(self, input: Tensor, target: Tensor) -> Tensor:
        """Smooth absolute residuals."""
        return smooth_l1(input, target, self.beta)
