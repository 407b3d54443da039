r"""Ordered classes: K - 1 questions "is the label above k?", each with a logit of its own."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def coral(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`-\sum_k \log \sigma(\pm x_k)` over the thresholds k = 0..K-2, with + where :math:`y > k`.

    Args:
        input: logits :math:`x` of :math:`P(y > k)` [N, K-1, *].
        target: labels :math:`y` in 0..K-1 [N, *] (int64).

    Returns:
        Values in :math:`[0, \infty)` [N, *].

    >>> import torch
    >>> coral(torch.zeros(1, 4), torch.tensor([2]))  # 4 log 2
    tensor([2.7726])
    """
    return _answers(input, target).sum(1)


def corn(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`-\sum_{k \le y} \log \sigma(\pm x_k)` over the thresholds k = 0..K-2, with + where :math:`y > k`.

    Args:
        input: logits :math:`x` of :math:`P(y > k \mid y \ge k)` [N, K-1, *].
        target: labels :math:`y` in 0..K-1 [N, *] (int64).

    Returns:
        Values in :math:`[0, \infty)` [N, *], each a sum over `corn_count` thresholds.

    >>> import torch
    >>> corn(torch.zeros(2, 4), torch.tensor([0, 4]))  # log 2 and 4 log 2
    tensor([0.6931, 2.7726])
    """
    asked = target.unsqueeze(1) >= _thresholds(input)
    return (_answers(input, target) * asked).sum(1)


def corn_count(input: Tensor, target: Tensor) -> Tensor:
    r"""The number of thresholds :math:`k \le y` of each element, of the K - 1 that `input` [N, K-1, *] has.

    >>> import torch
    >>> corn_count(torch.zeros(3, 2), torch.tensor([0, 1, 2]))
    tensor([1, 2, 2])
    """
    return (target + 1).clamp(max=input.shape[1])


def coral_label(input: Tensor) -> Tensor:
    r"""The number of thresholds with :math:`\sigma(x_k) > 1/2`: labels [N, *] of the logits [N, K-1, *] of `coral`.

    >>> import torch
    >>> coral_label(torch.tensor([[3.0, 1.0, -1.0, -3.0]]))
    tensor([2])
    """
    return (input > 0).sum(1)


def corn_label(input: Tensor) -> Tensor:
    r"""The number of thresholds with :math:`\prod_{j \le k} \sigma(x_j) > 1/2`: labels [N, *] of logits [N, K-1, *].

    >>> import torch
    >>> corn_label(torch.tensor([[3.0, 1.0, 0.1, 3.0]]))  # .95, .70, .37, .35
    tensor([2])
    """
    return (F.logsigmoid(input).cumsum(1) > -math.log(2)).sum(1)


def _answers(input: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy of each threshold's answer, of the shape of `input`."""
    above = target.unsqueeze(1) > _thresholds(input)
    return -F.logsigmoid(torch.where(above, input, -input))


def _thresholds(input: Tensor) -> Tensor:
    return torch.arange(input.shape[1], device=input.device).reshape(-1, *[1] * (input.dim() - 2))
