r"""Focal losses: cross-entropies in which what is already right counts little.

A power of 1 - p below 1 has an infinite derivative at p = 1, so neither formula lets 1 - p become 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses.functional.gathering import at_label


def sigmoid_focal(input: Tensor, target: Tensor, alpha: float | Tensor | None = 0.25, gamma: float = 2.0) -> Tensor:
    r""":math:`-\alpha_t (1 - p_t)^\gamma \log p_t`, binary, with :math:`p_t` the probability of the true label.

    :math:`\alpha_t` is :math:`\alpha` for positives and :math:`1 - \alpha` for negatives.

    Args:
        input: logits, any shape.
        target: 0 or 1, the same shape.
        alpha: weight of the positives, in [0, 1], broadcast to `input`; None for no weighting.
        gamma: focusing :math:`\gamma \ge 0`; 0 is cross-entropy.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> sigmoid_focal(torch.zeros(2), torch.tensor([0, 1]))  # (3/4, 1/4) * log(2) / 4
    tensor([0.1300, 0.0433])
    """
    sign = 2 * target.to(input.dtype) - 1
    margin = sign * input  # the logit of p_t: log(1 - p_t) = log p_t - margin, which stays finite
    log_p = F.logsigmoid(margin)
    focused = torch.exp(gamma * (log_p - margin)) * log_p
    return -focused if alpha is None else ((0.5 - alpha) * sign - 0.5) * focused


def softmax_focal(input: Tensor, target: Tensor, gamma: float = 2.0, alpha: Tensor | None = None) -> Tensor:
    r""":math:`-\alpha_y (1 - p_y)^\gamma \log p_y` with :math:`p = \operatorname{softmax}(x)` and the label :math:`y`.

    Args:
        input: logits :math:`x` [N, C, *].
        target: labels in 0..C-1 [N, *] (int64).
        gamma: focusing :math:`\gamma \ge 0`; 0 is cross-entropy.
        alpha: weight of each class [C]; None for 1 each.

    Returns:
        Values in :math:`[0, \infty)` [N, *].

    >>> import torch
    >>> softmax_focal(torch.zeros(1, 4), torch.tensor([2]))  # (3/4)^2 log 4
    tensor([0.7798])
    """
    log_p = at_label(torch.log_softmax(input, 1), target)
    most = -torch.finfo(log_p.dtype).eps  # nearer to log p = 0 the true 1 - p is lost in rounding anyway
    others = -torch.expm1(log_p.clamp(max=most))
    values = -others.pow(gamma) * log_p
    return values if alpha is None else values * alpha.to(input.dtype)[target]
