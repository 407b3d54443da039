"""Focal losses, for classes so unequal in number that the easy ones would drown the others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape
from lightning_losses.functional.focal import sigmoid_focal, softmax_focal
from lightning_losses.functional.fused import can_fuse
from lightning_losses.functional.fused_focal import fused_sigmoid_focal
from lightning_losses.functional.gathering import per_class
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import LogitsCheck, check_binary, check_per_class, class_labels, numbers
from lightning_losses.reduction import Parts


class SigmoidFocal(ElementwiseLoss):
    r"""Binary focal loss, :math:`-\alpha_t (1 - p_t)^\gamma \log p_t` with :math:`p = \sigma(x)`.

    :math:`p_t` is the probability of the true label; :math:`\alpha_t` is :math:`\alpha` for positives and
    :math:`1 - \alpha` for negatives. For very many easy negatives, as the anchors of a detector: what is right already
    fades. Lin et al., "Focal loss for dense object detection", 2017.

    Range :math:`[0, \infty)`; reference: what even odds score, :math:`\alpha_t 2^{-\gamma} \log 2`.

    Traps: the paper divides the sum by the number of positives; the mean here is over all elements, and far smaller.
    The probabilities are not calibrated.

    Differs from torchvision's: every derivative is finite, also for :math:`0 < \gamma < 1`, and targets that are
    neither 0 nor 1 are an error.

    Args:
        alpha: weight of the positives, in [0, 1]: one number, or one per class of logits [N, C, *]; None for no
            weighting.
        gamma: focusing, at least 0; 0 is cross-entropy.
        fused: keep only the float32 logits and the targets for the backward pass and compute the rest again. It forbids
            a second derivative and forward-mode AD; inside `eager_formulas`, torch.func and torch.compile the plain
            formula is taken.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: a hyperparameter out of its range, shapes that differ, a target that is neither 0 nor 1.

    >>> import torch
    >>> SigmoidFocal(alpha=None, gamma=0.0)(torch.zeros(2), torch.tensor([0, 1]))  # log 2
    tensor(0.6931)
    """

    alpha: Tensor | None

    def __init__(
        self,
        *,
        alpha: float | Sequence[float] | Tensor | None = 0.25,
        gamma: float = 2.0,
        fused: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.gamma = check_number("gamma", gamma, at_least=0)
        self.fused = fused
        self.register_buffer("alpha", numbers("alpha", alpha, at_most=1), persistent=False)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Focal losses, of the shape of `input`."""
        check_same_shape("input", input, "target", target)
        check_binary(target)
        alpha = self.alpha
        if alpha is not None and alpha.dim():
            check_per_class("alpha", alpha, input)
            alpha = per_class(alpha, input)
        focal = fused_sigmoid_focal if self.fused and can_fuse() else sigmoid_focal
        return Parts(focal(input, target, alpha, self.gamma))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Even odds."""
        return torch.zeros_like(input)


class SoftmaxFocal(ElementwiseLoss):
    r"""Focal loss of exclusive classes, :math:`-\alpha_y (1 - p_y)^\gamma \log p_y` with a softmax :math:`p`.

    For pixels and other elements most of which are easy. Logits [N, C, *] against labels [N, *]. Lin et al., "Focal
    loss for dense object detection", 2017, carried over to the softmax.

    Traps: the mean is over elements: unlike class weights of cross-entropy, `alpha` does not enter its denominator, and
    unlike in kornia and MONAI neither does the number of classes. The probabilities are not calibrated.

    Range :math:`[0, \infty)`; reference: what equal logits score, :math:`\alpha_y (1 - 1/C)^\gamma \log C`.

    Args:
        gamma: focusing, at least 0; 0 is cross-entropy.
        alpha: one number per class, at least 0; None for 1 each.
        ignore_index: the label of elements that do not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a label out of range.

    >>> import torch
    >>> SoftmaxFocal(gamma=2.0)(torch.zeros(1, 4), torch.tensor([2]))  # (3/4)^2 log 4
    tensor(0.7798)
    """

    alpha: Tensor | None

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: Sequence[float] | Tensor | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.gamma = check_number("gamma", gamma, at_least=0)
        self.ignore_index = ignore_index
        self.register_buffer("alpha", numbers("alpha", alpha), persistent=False)
        self.check_logits = LogitsCheck()

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Focal losses [N, *]."""
        labels, kept = class_labels(input, target, self.ignore_index)
        check_per_class("alpha", self.alpha, input)
        self.check_logits(input)
        return Parts(softmax_focal(input, labels, self.gamma, self.alpha)).weighted(None, kept)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely."""
        return torch.zeros_like(input)
