"""Divergences: how far the softmax of logits is from another distribution."""

import math

import torch
from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.functional.divergences import jensen_shannon, kl_divergence, symmetric_kl
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.losses.inputs import LogitsCheck, check_two_logits, distributions
from lightning_losses.reduction import Parts


class Divergence(ElementwiseLoss):
    """A loss of logits [N, C, *] and as many numbers [N, C, *], those of an element along the class axis."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.check_logits = LogitsCheck()

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """Every class equally likely."""
        return torch.zeros_like(input)

    def element_axis(self, target: Tensor) -> int | None:
        """The class axis; a target without one is an error later."""
        return 1 if target.dim() > 1 else None


class KLDivergence(Divergence):
    r"""Kullback-Leibler divergence of the model from the truth, :math:`\sum_c t_c \log \frac{t_c}{p_c}`.

    :math:`p = \operatorname{softmax}(x)`, of logits [N, C, *] against distributions :math:`t` [N, C, *]. For soft
    targets, as the votes of several annotators: the gradient is that of `CrossEntropy`, and without the entropy of the
    targets the value is 0 where the model is right. Kullback and Leibler, "On information and sufficiency", 1951.

    Range :math:`[0, \infty)`; reference: what equal logits score, :math:`\log C - H(t)`.

    Trap: it is not symmetric. What the truth has and the model lacks costs without limit, the reverse little.

    Differs from `torch.nn.KLDivLoss`: it takes logits, not log-probabilities; the mean is over elements and never over
    their classes; distributions that do not sum to 1, whose divergence may be negative, are an error (all zeros pass,
    as the targets of masked elements are, and have no gradient); and the gradient with respect to a target of 0 is
    finite.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        ValueError: shapes that differ, a probability outside [0, 1], or those of an element do not sum to 1.

    >>> import torch
    >>> KLDivergence()(torch.zeros(1, 4), torch.tensor([[0.5, 0.5, 0.0, 0.0]]))  # log 4 - log 2
    tensor(0.6931)
    """

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Divergences [N, *]."""
        target = distributions(input, target)
        self.check_logits(input)
        return Parts(kl_divergence(input, target))


class JensenShannon(Divergence):
    r"""Jensen-Shannon divergence, :math:`w\,\mathrm{KL}(p \,\|\, m) + (1-w)\,\mathrm{KL}(t \,\|\, m)`.

    :math:`m = w p + (1-w) t` is the mixture of the model's distribution and of the target's. Logits [N, C, *] against
    distributions :math:`t` [N, C, *]. For targets of which some are wrong: it is bounded, so that these do limited
    harm. Lin, "Divergence measures based on the Shannon entropy", 1991.

    Range :math:`[0, H(w)]` with :math:`H(w) = -w \log w - (1-w) \log(1-w)`, which is :math:`\log 2` for even shares;
    reference: what equal logits score.

    Trap: a confident mistake has almost no gradient.

    Differs from others: neither probabilities nor the mixture are clamped, and all derivatives are finite.

    Args:
        share: :math:`w`, of the model's distribution in the mixture, in (0, 1).
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        ValueError: a share out of its range, shapes that differ, a probability outside [0, 1], or those of an element
            do not sum to 1.

    >>> import torch
    >>> JensenShannon()(torch.tensor([[-100.0, 100.0]]), torch.tensor([[1.0, 0.0]]))  # nothing in common: log 2
    tensor(0.6931)
    """

    def __init__(self, *, share: float = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.share = check_number("share", share, above=0, below=1)
        self.upper = -share * math.log(share) - (1 - share) * math.log1p(-share)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Divergences [N, *]."""
        target = distributions(input, target)
        self.check_logits(input)
        return Parts(jensen_shannon(input, target, self.share))


class SymmetricKL(Divergence):
    r"""Symmetric Kullback-Leibler divergence, :math:`\mathrm{KL}(p \,\|\, q) + \mathrm{KL}(q \,\|\, p)`.

    Both distributions are softmaxes of logits [N, C, *]; with probabilities, a single zero would make it infinite. For
    two views or two models that shall agree. Jeffreys, "An invariant form for the prior probability", 1946.

    Range :math:`[0, \infty)`; reference: what equal logits score against those of the target.

    Traps: it is the sum of the two divergences; some take half of it. Gradients flow into both arguments: detach the
    one that shall not move. That both agree is no news if they agree on nothing: it needs a second term that ties one
    of them to the truth.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N, *]).

    Raises:
        ValueError: shapes that differ, a target that is not finite.

    >>> import torch
    >>> SymmetricKL()(torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0, 1.0]]))  # 4 tanh 1
    tensor(3.0464)
    """

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Divergences [N, *]."""
        check_two_logits(input, target)
        self.check_logits(input)
        return Parts(symmetric_kl(input, target))
