"""Adversarial robustness: losses of the logits of a clean and of an attacked input."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses.functional.gathering import at_label


def trades(clean: Tensor, adversarial: Tensor, target: Tensor, beta: float = 6.0) -> Tensor:
    r""":math:`-\log p_y + \beta\, \mathrm{KL}(p \Vert q)`.

    Args:
        clean: logits of :math:`p` [N, C, *].
        adversarial: logits of :math:`q`, the same shape.
        target: labels :math:`y` in 0..C-1 [N, *] (int64).
        beta: :math:`\beta \ge 0`.

    Returns:
        Values in :math:`[0, \infty)` [N, *].

    >>> import torch
    >>> trades(torch.zeros(1, 10), torch.zeros(1, 10), torch.tensor([3]))  # log 10
    tensor([2.3026])
    """
    log_p, log_q = clean.log_softmax(1), adversarial.log_softmax(1)
    return beta * _divergence(log_p, log_q) - at_label(log_p, target)


def mart(clean: Tensor, adversarial: Tensor, target: Tensor, beta: float = 5.0) -> Tensor:
    r""":math:`-\log q_y - \log(1 - \max_{c \ne y} q_c) + \beta (1 - p_y)\, \mathrm{KL}(p \Vert q)`.

    Args:
        clean: logits of :math:`p` [N, C, *] with C of at least 2.
        adversarial: logits of :math:`q`, the same shape.
        target: labels :math:`y` in 0..C-1 [N, *] (int64).
        beta: :math:`\beta \ge 0`.

    Returns:
        Values in :math:`[0, \infty)` [N, *].

    >>> import torch
    >>> mart(torch.zeros(1, 10), torch.zeros(1, 10), torch.tensor([3]))  # log 10 - log 0.9
    tensor([2.4079])
    """
    log_p, log_q = clean.log_softmax(1), adversarial.log_softmax(1)
    wrong = -torch.expm1(at_label(log_p, target))
    return beta * wrong * _divergence(log_p, log_q) - at_label(log_q, target) - _log_without_rival(log_q, target)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(p \Vert q)` [N, *] of log-probabilities [N, C, *]."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def _log_without_rival(log_q: Tensor, target: Tensor) -> Tensor:
    r""":math:`\log(1 - \max_{c \ne y} q_c)`, as the sum over all classes but the strongest wrong one."""
    others = log_q.detach().scatter(1, target.unsqueeze(1), -torch.inf)
    rival = others.argmax(1, keepdim=True)
    return log_q.scatter(1, rival, -torch.inf).logsumexp(1)
