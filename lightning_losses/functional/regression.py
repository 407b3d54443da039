"""Regression: residuals and what they cost."""

import torch
import torch.nn.functional as F
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


def absolute_error(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`|x - y|`, element by element; the derivative is 0 where it is 0.

    Args:
        input: predictions :math:`x`, any shape.
        target: truths :math:`y`, the same shape.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> absolute_error(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor([0., 2.])
    """
    return torch.abs(input - target)


def smooth_l1(input: Tensor, target: Tensor, beta: float = 1.0) -> Tensor:
    r""":math:`e^2 / 2\beta` where :math:`|e| < \beta`, else :math:`|e| - \beta/2`; :math:`e = x - y`.

    Args:
        input: predictions :math:`x`, any shape.
        target: truths :math:`y`, the same shape.
        beta: where the parabola turns into a line, at least 0; 0 is the absolute error, whose second derivative is 0.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> smooth_l1(torch.tensor([1.5, 4.0]), torch.tensor([1.0, 1.0]))
    tensor([0.1250, 2.5000])
    """
    return F.smooth_l1_loss(input, target, reduction="none", beta=beta)
