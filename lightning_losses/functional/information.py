"""What a prediction says of a latent code."""

import math

import torch.nn.functional as F
from torch import Tensor


def gaussian_nll(input: Tensor, target: Tensor, min_std: float = 0.1) -> Tensor:
    r""":math:`\frac{(y - \mu)^2}{2 \sigma^2} + \log \sigma + \frac12 \log 2\pi`.

    :math:`\sigma = \sigma_0 + \log(1 + e^s)`, which neither vanishes nor overflows.

    Args:
        input: :math:`\mu` and :math:`s` [N, 2, *].
        target: truths :math:`y` [N, *].
        min_std: the least standard deviation :math:`\sigma_0 > 0`.

    Returns:
        Values in :math:`[\log \sigma_0 + \frac12 \log 2\pi, \infty)` [N, *].

    >>> import torch
    >>> gaussian_nll(torch.tensor([[1.0, 0.0]]), torch.tensor([1.0]))  # log(0.1 + log 2) + log(2 pi) / 2
    tensor([0.6872])
    """
    mean, spread = input.unbind(1)
    std = min_std + F.softplus(spread)
    return ((target - mean) / std).square() / 2 + std.log() + math.log(2 * math.pi) / 2
