"""Losses that make a code readable from what was generated with it."""

import math

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message
from lightning_losses.functional.classification import cross_entropy
from lightning_losses.functional.information import gaussian_nll
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import check_finite, class_labels
from lightning_losses.reduction import Parts


class MutualInformation(ElementwiseLoss):
    r"""How much of a categorical code is lost, :math:`-\log q(c \mid x)`.

    For a categorical code that is to stay readable in the samples of a generator. Chen et al., "InfoGAN", 2016. With
    codes drawn evenly from K classes, :math:`\log K` minus this loss is a lower bound of the mutual information between
    the code and the sample; so 1 minus the normalised value is the share of the code's entropy that is known to arrive.
    Logits [N, K, *] against codes [N, *]. As a term it takes `code_logits` and `code` of the call. A continuous code
    takes `GaussianNLL`.

    Range :math:`[0, \infty)`; reference :math:`\log K`, what equal logits score.

    Trap: several codes lie along the last axes, and the mean is over them too; the paper adds them up.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        TypeError: codes of a floating dtype.
        ValueError: shapes that do not fit, a code out of range.

    >>> import torch
    >>> MutualInformation()(torch.zeros(3, 10), torch.tensor([3, 7, 0]))  # log 10: nothing has arrived
    tensor(2.3026)
    """

    inputs = ("code_logits", "code")

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Cross-entropies [N, *]."""
        labels, _ = class_labels(input, target, None)
        return Parts(cross_entropy(input, labels))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every code equally likely."""
        return torch.zeros_like(input)


class GaussianNLL(ElementwiseLoss):
    r"""Negative log-likelihood of the truth under a predicted Gaussian.

    .. math:: \frac{(y-\mu)^2}{2\sigma^2} + \log \sigma\sqrt{2\pi}

    Predictions [N, 2, *] hold :math:`\mu` and :math:`s` along axis 1, with :math:`\sigma = \sigma_0 + \log(1 + e^s)`,
    against truths [N, *]. For continuous codes of InfoGAN (Chen et al., 2016), whose mutual information with the sample
    it bounds as `MutualInformation` does, and for regressions that are to know their own error.

    Range: from :math:`\log \sigma_0\sqrt{2\pi}`, which may be negative since it is that of a density, to
    :math:`\infty`; reference: what the mean and the deviation of each batch's truths score.

    Traps: without the least deviation :math:`\sigma_0` the loss would fall for ever as soon as one truth is hit.
    Far-off truths pull on :math:`\mu` with :math:`1/\sigma^2`: a small `min_std` makes the gradients large.

    Args:
        min_std: :math:`\sigma_0`, above 0, in the units of the truths.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        ValueError: `min_std` is not above 0, shapes do not fit, or a truth is not finite.

    >>> import torch
    >>> GaussianNLL(min_std=0.1)(torch.tensor([[1.0, -20.0]]), torch.tensor([1.0]))  # log(0.1) + log(2 pi) / 2
    tensor(-1.3836)
    """

    lower = -math.inf

    def __init__(self, *, min_std: float = 0.1, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.min_std = check_number("min_std", min_std, above=0)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Values [N, *]."""
        if input.shape[:1] + input.shape[2:] != target.shape or input.shape[1:2] != (2,):
            rule = f"of shape [N, 2, *] for truths of shape {tuple(target.shape)}"
            raise ValueError(message("input", rule, tuple(input.shape)))
        check_finite("target", target)
        return Parts(gaussian_nll(input, target, self.min_std))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean and the standard deviation of the truths."""
        truths = target.to(input.dtype)
        mean = truths.nanmean()
        excess = ((truths - mean).square().nanmean().sqrt() - self.min_std).clamp(min=1e-30)
        spread = excess + torch.log(-torch.expm1(-excess))  # the inverse of log(1 + e^s)
        return torch.stack([mean.expand_as(truths), spread.expand_as(truths)], 1)

    def optimal(self, input: Tensor, target: Tensor) -> Tensor:
        """The truths, with the least deviation."""
        truths = target.to(input.dtype)
        return torch.stack([truths, torch.full_like(truths, -1e4)], 1)
