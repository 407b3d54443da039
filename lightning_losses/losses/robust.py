"""Losses of regression for targets with outliers: a parabola near 0, a line far out."""

from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.functional.robust import huber, log_cosh
from lightning_losses.losses.regression import ResidualLoss


class Huber(ResidualLoss):
    r"""Huber loss: :math:`e^2 / 2` where :math:`|e| < \delta`, else :math:`\delta (|e| - \delta/2)`.

    Huber, "Robust estimation of a location parameter", 1964. For normal noise with outliers: half the squared error for
    residuals of the size of the noise, which a good :math:`\delta` is somewhat larger than (1.345 standard deviations
    for Gaussian noise); beyond it an outlier pulls with :math:`\delta` and no harder. Range :math:`[0, \infty)`;
    reference: what the median of each batch's targets scores.

    Trap: it is :math:`\delta` times `SmoothL1` with :math:`\beta = \delta`: the slope far out is :math:`\delta` here
    and 1 there.

    Args:
        delta: where the parabola turns into a line, above 0, in the unit of the target.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `delta` is not above 0, `input` and `target` differ in shape, or a target is not finite.

    >>> import torch
    >>> Huber(delta=2.0)(torch.tensor([2.0, 5.0]), torch.tensor([1.0, 1.0]))
    tensor(3.2500)
    """

    def __init__(self, *, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.delta = check_number("delta", delta, above=0)

    def residuals(self, input: Tensor, target: Tensor) -> Tensor:
        """Huber's values."""
        return huber(input, target, self.delta)


class LogCosh(ResidualLoss):
    r"""The mean of :math:`\log\cosh(x_e - y_e)`: about :math:`e^2/2` near 0 and :math:`|e| - \log 2` far out.

    For methods that use second derivatives: like `Huber` with :math:`\delta = 1`, and with all its derivatives
    everywhere. Range :math:`[0, \infty)`; reference: what the median of each batch's targets scores.

    Trap: it has no hyperparameter, so give it targets whose noise is of the order of 1.

    Differs from others: :math:`\log((\exp e + \exp(-e))/2)` overflows at a residual of 89 (in float16 of 12), and
    :math:`|e| + \log(1 + \exp(-2|e|)) - \log 2` is 0 in float32 for residuals below 0.0002; here it is exact to
    rounding everywhere.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `input` and `target` differ in shape, or a target is not finite.

    >>> import torch
    >>> LogCosh(reduction="none")(torch.tensor([1e-3, 1e4]), torch.zeros(2))
    tensor([5.0000e-07, 9.9993e+03])
    """

    def residuals(self, input: Tensor, target: Tensor) -> Tensor:
        """Logarithms of hyperbolic cosines."""
        return log_cosh(input, target)
