"""Varifocal loss, for detectors whose score says how good the box is."""

import torch
from torch import Tensor

from lightning_losses.checks import check_number, check_same_shape
from lightning_losses.functional.varifocal import varifocal
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import check_probabilities
from lightning_losses.reduction import Parts

CERTAIN = 1e4  # a logit of probability 1 in every precision


class Varifocal(ElementwiseLoss):
    r"""Varifocal loss, :math:`q \mathrm{BCE}(x, q)` of positives, :math:`\alpha p^\gamma \mathrm{BCE}(x, 0)` of others.

    The target :math:`q \in [0, 1]` is the quality that a score should tell, such as the IoU of the predicted box with
    the true one, and 0 where there is no object; :math:`p = \sigma(x)`. For dense detectors that rank boxes by one
    score: only easy negatives fade, and of the positives the good ones count most. Zhang et al., "VarifocalNet: An
    IoU-aware dense object detector", 2021, `arXiv:2008.13367 <https://arxiv.org/abs/2008.13367>`_.

    Range from the mean of :math:`q H(q)`, with :math:`H` the entropy of the quality, to :math:`\infty`; reference: what
    even odds score, :math:`q \log 2` and :math:`\alpha 2^{-\gamma} \log 2`.

    Traps: detach the quality, or the boxes are trained to be as bad as their scores. A positive of quality 0 counts as
    a negative. The mean is over all elements, the paper divides the sum by the positives.

    Differs from others: every derivative is finite, also for :math:`0 < \gamma < 1`.

    Args:
        alpha: weight of the negatives, at least 0.
        gamma: focusing of the negatives, at least 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: a hyperparameter out of its range, shapes that differ, a quality outside [0, 1].

    >>> import torch
    >>> Varifocal()(torch.zeros(2), torch.tensor([0.5, 0.0]))  # (8 + 3) / 32 log 2
    tensor(0.2383)
    """

    def __init__(self, *, alpha: float = 0.75, gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.alpha = check_number("alpha", alpha, at_least=0)
        self.gamma = check_number("gamma", gamma, at_least=0)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Varifocal losses, of the shape of `input`."""
        check_same_shape("input", input, "target", target)
        check_probabilities(target)
        return Parts(varifocal(input, target, self.alpha, self.gamma))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Even odds."""
        return torch.zeros_like(input)

    def optimal(self, input: Tensor, target: Tensor) -> Tensor:
        """The odds of the quality."""
        return torch.logit(target.to(input.dtype)).clamp(-CERTAIN, CERTAIN)
