"""The asymmetric loss, for labels of which each sample has few."""

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape
from lightning_losses.functional.asymmetric import asymmetric
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import check_binary
from lightning_losses.reduction import Parts


class Asymmetric(ElementwiseLoss):
    r"""Asymmetric loss: :math:`-(1 - p)^{\gamma_+} \log p` where positive, else :math:`-p_m^{\gamma_-} \log(1 - p_m)`.

    :math:`p = \sigma(x)` and :math:`p_m = \max(p - m, 0)`. For many labels that do not exclude each other and are
    mostly absent: easy negatives fade, those less likely than :math:`m` cost nothing, and positives keep their
    cross-entropy. Ridnik et al., "Asymmetric loss for multi-label classification", 2021, whose choice the defaults are.

    Range :math:`[0, \infty)`; reference: what even odds score, :math:`2^{-\gamma_+} \log 2` for a positive and
    :math:`-(\tfrac12 - m)^{\gamma_-} \log(\tfrac12 + m)` for a negative.

    Differs from the authors': the mean over all labels and not the sum, and no small number is added inside of the
    logarithm, which would cap the loss of a confidently missed positive and end its gradient.

    Traps: a negative is capped by the clip, at :math:`-(1 - m)^{\gamma_-} \log m`: one that the model is sure of is
    taken for a missing label. The probabilities are not calibrated. With a clip and :math:`\gamma_- < 1` the curvature
    is infinite at :math:`p = m`; it is cut off there.

    Args:
        gamma_positive: focusing of the positives :math:`\gamma_+`, at least 0; 0 is cross-entropy.
        gamma_negative: focusing of the negatives :math:`\gamma_-`, at least 0.
        clip: the probability :math:`m` up to which a negative is forgiven, in [0, 1).
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: a hyperparameter out of its range, shapes that differ, a target that is neither 0 nor 1.

    >>> import torch
    >>> Asymmetric()(torch.zeros(2), torch.tensor([0, 1]))  # (log 2 - 0.45^4 log 0.55) / 2
    tensor(0.3588)
    """

    def __init__(
        self, *, gamma_positive: float = 0.0, gamma_negative: float = 4.0, clip: float = 0.05, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.gamma_positive = check_number("gamma_positive", gamma_positive, at_least=0)
        self.gamma_negative = check_number("gamma_negative", gamma_negative, at_least=0)
        self.clip = check_number("clip", clip, at_least=0, below=1)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Asymmetric losses, of the shape of `input`."""
        check_same_shape("input", input, "target", target)
        check_binary(target)
        return Parts(asymmetric(input, target, self.gamma_positive, self.gamma_negative, self.clip))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Even odds."""
        return torch.zeros_like(input)
