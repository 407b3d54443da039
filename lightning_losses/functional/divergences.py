r"""Divergences between the distribution of a softmax and another one.

Everything is made of log-probabilities; 0 log 0 is 0 with a zero derivative.
"""

import math

import torch
from torch import Tensor


def kl_divergence(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(t \,\|\, p) = \sum_c t_c \log \frac{t_c}{p_c}` with :math:`p = \operatorname{softmax}(x)`.

    Args:
        input: logits :math:`x` [N, C, *].
        target: distributions :math:`t` over the classes [N, C, *]; zeros are fine.

    Returns:
        Values in :math:`[0, \infty)` [N, *].

    >>> import torch
    >>> kl_divergence(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))  # log 2
    tensor([0.6931])
    """
    return (target * (_log(target) - torch.log_softmax(input, 1))).sum(1)


def jensen_shannon(input: Tensor, target: Tensor, share: float = 0.5) -> Tensor:
    r""":math:`w\,\mathrm{KL}(p \,\|\, m) + (1-w)\,\mathrm{KL}(t \,\|\, m)` with the mixture :math:`m = w p + (1-w) t`.

    Args:
        input: logits [N, C, *] of :math:`p = \operatorname{softmax}(x)`.
        target: distributions :math:`t` over the classes [N, C, *]; zeros are fine.
        share: :math:`w` in (0, 1), of the model's distribution in the mixture.

    Returns:
        Values in :math:`[0, -w \log w - (1-w) \log(1-w)]` [N, *].

    >>> import torch
    >>> jensen_shannon(torch.tensor([[-100.0, 100.0]]), torch.tensor([[1.0, 0.0]]))  # nothing in common: log 2
    tensor([0.6931])
    """
    log_p, log_t = torch.log_softmax(input, 1), _log(target)
    in_mixture = log_p + math.log(share), log_t.masked_fill(target == 0, -math.inf) + math.log1p(-share)
    log_m = torch.stack(in_mixture).logsumexp(0)  # the second derivative of logaddexp is NaN where they are far apart
    of_model = log_p.exp() * (log_p - log_m)
    of_target = target * (log_t - log_m)
    return (share * of_model + (1 - share) * of_target).sum(1)


def symmetric_kl(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(p \,\|\, q) + \mathrm{KL}(q \,\|\, p) = \sum_c (p_c - q_c)(\log p_c - \log q_c)`.

    Args:
        input: logits [N, C, *] of :math:`p`.
        target: logits [N, C, *] of :math:`q`: with probabilities, a single zero would make it infinite.

    Returns:
        Values in :math:`[0, \infty)` [N, *].

    >>> import torch
    >>> symmetric_kl(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))  # 2 tanh(1/2)
    tensor([0.9242])
    """
    log_p, log_q = torch.log_softmax(input, 1), torch.log_softmax(target, 1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1)


def _log(probabilities: Tensor) -> Tensor:
    """The logarithm, and 0 with a zero derivative where it would be minus infinity."""
    return probabilities.masked_fill(probabilities == 0, 1.0).log()
