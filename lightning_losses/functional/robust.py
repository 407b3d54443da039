"""Robust regression: parabolas near 0 whose slope stays bounded far out, and the reverse."""

import torch
import torch.nn.functional as F
from torch import Tensor


def huber(input: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    r""":math:`e^2 / 2` where :math:`|e| < \delta`, else :math:`\delta (|e| - \delta/2)`; :math:`e = x - y`.

    Args:
        input: predictions :math:`x`, any shape.
        target: truths :math:`y`, the same shape.
        delta: where the parabola turns into a line, above 0.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> huber(torch.tensor([2.0, 5.0]), torch.tensor([1.0, 1.0]), delta=2.0)
    tensor([0.5000, 6.0000])
    """
    return delta * F.smooth_l1_loss(input, target, reduction="none", beta=delta)


def log_cosh(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`\log\cosh e`, :math:`e = x - y`: about :math:`e^2 / 2` near 0 and :math:`|e| - \log 2` far out.

    It is :math:`\log(1 + (\exp e - 1)(1 - \exp(-e)) / 2)`, and nothing cancels near 0. Beyond 20 it is a line in any
    precision, and is continued as one: the exponential would overflow.

    Args:
        input: predictions :math:`x`, any shape.
        target: truths :math:`y`, the same shape.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> log_cosh(torch.tensor([1e-3, 1e4]), torch.zeros(2))
    tensor([5.0000e-07, 9.9993e+03])
    """
    residual = input - target
    beyond = F.softshrink(residual, 20.0)
    within = residual - beyond
    return torch.log1p(-torch.expm1(within) * torch.expm1(-within) / 2) + beyond.abs()


def berhu(input: Tensor, target: Tensor, threshold: float | Tensor) -> Tensor:
    r""":math:`|e|` where :math:`|e| \le c`, else :math:`(e^2 + c^2) / 2c`; :math:`e = x - y`.

    Computed as :math:`|e| + \max(|e| - c, 0)^2 / 2c`, which is the same.

    Args:
        input: predictions :math:`x`, any shape.
        target: truths :math:`y`, the same shape.
        threshold: :math:`c`, where the line turns into a parabola, above 0.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> berhu(torch.tensor([1.0, 4.0]), torch.zeros(2), 2.0)
    tensor([1., 5.])
    """
    size = torch.abs(input - target)
    beyond = torch.relu(size - threshold)
    return size + beyond * (beyond / (2 * threshold))
