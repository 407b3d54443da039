"""Regression: residuals and what they cost."""

import torch
from torch import Tensor


def squared_error(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`(x - y)^2`, element by element.

    Args:
        input: predictions :math:`x`, any shape.
        target: truths :math:`y`, the same shape.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> squared_error(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor([0., 4.])
    """
    return torch.square(input - target)
