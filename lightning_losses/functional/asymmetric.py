"""Asymmetric loss: focal in one way for positives, in another for the many easy negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor


def asymmetric(
    input: Tensor, target: Tensor, gamma_positive: float = 0.0, gamma_negative: float = 4.0, clip: float = 0.05
) -> Tensor:
    r""":math:`-(1 - p)^{\gamma_+} \log p` for positives, :math:`-p_m^{\gamma_-} \log(1 - p_m)` for negatives.

    :math:`p = \sigma(x)` and :math:`p_m = \max(p - m, 0)`: a negative that is less likely than :math:`m` is forgiven.

    Args:
        input: logits :math:`x`, any shape.
        target: 0 or 1, the same shape.
        gamma_positive: focusing of the positives :math:`\gamma_+ \ge 0`.
        gamma_negative: focusing of the negatives :math:`\gamma_- \ge 0`.
        clip: :math:`m` in [0, 1).

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> asymmetric(torch.zeros(2), torch.tensor([1, 0]))  # log 2, and -0.45^4 log 0.55
    tensor([0.6931, 0.0245])
    """
    positive = _focal(input, gamma_positive)
    negative = _clipped(input, gamma_negative, clip) if clip else _focal(-input, gamma_negative)
    target = target.to(input.dtype)
    return target * positive + (1 - target) * negative


def _focal(margin: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p, where `margin` is the logit of p."""
    log_p = F.logsigmoid(margin)
    return -torch.exp(gamma * (log_p - margin)) * log_p


def _clipped(input: Tensor, gamma: float, clip: float) -> Tensor:
    """-q^gamma log(1 - q), where q is by `clip` less than the sigmoid, and at least 0."""
    least = torch.finfo(input.dtype).eps  # a power below 2 has no second derivative at 0
    shifted = (torch.sigmoid(input) - clip).clamp(min=least)
    return -shifted.pow(gamma) * (torch.sigmoid(-input) + clip).log().clamp(max=0)
