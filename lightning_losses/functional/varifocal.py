r"""Varifocal loss: cross-entropy with a quality as its target, in which sure negatives count little."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses.functional.classification import binary_cross_entropy


def varifocal(input: Tensor, target: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    r""":math:`q\,\mathrm{BCE}(x, q)` for positives, :math:`\alpha\, p^\gamma\, \mathrm{BCE}(x, 0)` for negatives.

    With :math:`p = \sigma(x)` and :math:`\mathrm{BCE}(x, q) = -q \log p - (1 - q) \log(1 - p)`.

    Args:
        input: logits :math:`x`, any shape.
        target: the quality :math:`q` in [0, 1], the same shape; 0 is a negative.
        alpha: weight of the negatives, at least 0.
        gamma: focusing :math:`\gamma \ge 0` of the negatives; 0 is cross-entropy.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> varifocal(torch.zeros(2), torch.tensor([0.5, 0.0]))  # (1/2, 3/16) * log(2)
    tensor([0.3466, 0.1300])
    """
    quality = target.to(input.dtype)
    positive = quality * binary_cross_entropy(input, quality)
    negative = alpha * torch.exp(gamma * F.logsigmoid(input)) * F.softplus(input)
    return torch.where(quality > 0, positive, negative)
