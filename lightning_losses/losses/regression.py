"""Losses of regression."""

from torch import Tensor

from lightning_losses.checks import check_same_shape
from lightning_losses.functional.regression import squared_error
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.reduction import Parts


class MSE(ElementwiseLoss):
    r"""Mean squared error, :math:`\frac1n \sum_e (x_e - y_e)^2`.

    Sensitive to outliers: one residual of 10 weighs as much as a hundred of 1. Range :math:`[0, \infty)`; reference
    Var(y), what the mean of the batch's targets scores, so that the normalised value is :math:`1 - R^2`.

    Half-precision inputs are squared in float32 (a float16 residual of 256 would overflow).

    >>> import torch
    >>> MSE()(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor(2.)
    """

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Squared residuals, of the shape of `input`."""
        check_same_shape("input", input, "target", target)
        return Parts(squared_error(input, target))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean target."""
        return target.to(input.dtype).nanmean().expand_as(input)
