"""Losses of landmarks: coordinates, and heatmaps of where they are."""

from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.functional.landmarks import adaptive_wing, wing
from lightning_losses.losses.inputs import check_probabilities
from lightning_losses.losses.regression import ResidualLoss


class Wing(ResidualLoss):
    r"""Wing loss: :math:`w \log(1 + |e|/\epsilon)` where :math:`|e| < w`, else :math:`|e| - C`.

    Feng et al., "Wing loss for robust facial landmark localisation with convolutional neural networks", 2018. For
    coordinates in pixels: once most landmarks are nearly right, the small residuals are what is left to learn, and the
    logarithm makes them pull up to :math:`w/\epsilon` times harder than an outlier.
    :math:`C = w - w \log(1 + w/\epsilon)` joins the two pieces and is negative for the usual values. Range
    :math:`[0, \infty)`; reference: what the median of each batch's targets scores.

    Traps: the gradient jumps from :math:`-w/\epsilon` to :math:`w/\epsilon` at 0 (and is 0 there), so training may not
    settle without a smaller step size; the second derivative is negative up to :math:`w`.

    Args:
        width: :math:`w`, where the logarithm turns into a line, above 0, in the unit of the target.
        epsilon: :math:`\epsilon`, above 0, in the same unit.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: a hyperparameter out of its range, `input` and `target` differ in shape, a target is not finite.

    >>> import torch
    >>> Wing(width=10.0, epsilon=2.0)(torch.tensor([2.0]), torch.tensor([0.0]))  # 10 log 2
    tensor(6.9315)
    """

    def __init__(self, *, width: float = 10.0, epsilon: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.width = check_number("width", width, above=0)
        self.epsilon = check_number("epsilon", epsilon, above=0)

    def residuals(self, input: Tensor, target: Tensor) -> Tensor:
        """Wings."""
        return wing(input, target, self.width, self.epsilon)


class AdaptiveWing(ResidualLoss):
    r"""Adaptive wing loss: :math:`\omega \log(1 + |e/\epsilon|^{\alpha-y})` where :math:`|e| < \theta`, else a tangent.

    Wang et al., "Adaptive wing loss for robust face alignment via heatmap regression", 2019. For heatmaps in [0, 1]:
    where the truth is background (:math:`y = 0`) it is about a parabola, which forgives small residuals; where it is a
    landmark (:math:`y = 1`) it is about a cone, which does not. Range :math:`[0, \infty)`; reference: what the median
    of each batch's targets scores, mostly an empty heatmap.

    Traps: most of a heatmap is background, so the paper adds a `weight` of 11 for pixels near a landmark. The second
    derivative at a residual of 0, infinite for truths above :math:`\alpha - 2`, is given as 0. Targets above
    :math:`\alpha` would be infinite: targets outside of [0, 1] are an error.

    Args:
        omega: :math:`\omega`, above 0: the scale of the logarithm.
        theta: :math:`\theta`, above 0: the residual at which the tangent begins.
        epsilon: :math:`\epsilon`, above 0: the residual that counts as large.
        alpha: :math:`\alpha`, above 2 so that the gradient is 0 where a residual is.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: a hyperparameter out of its range, `input` and `target` differ in shape, a target out of [0, 1].

    >>> import torch
    >>> AdaptiveWing(reduction="none")(torch.tensor([0.25, 2.0]), torch.tensor([0.0, 1.0]))
    tensor([ 0.7417, 10.2594])
    """

    def __init__(
        self,
        *,
        omega: float = 14.0,
        theta: float = 0.5,
        epsilon: float = 1.0,
        alpha: float = 2.1,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.omega = check_number("omega", omega, above=0)
        self.theta = check_number("theta", theta, above=0)
        self.epsilon = check_number("epsilon", epsilon, above=0)
        self.alpha = check_number("alpha", alpha, above=2)

    def residuals(self, input: Tensor, target: Tensor) -> Tensor:
        """Adaptive wings."""
        check_probabilities(target)
        return adaptive_wing(input, target, self.omega, self.theta, self.epsilon, self.alpha)
