"""Landmarks: regression in which small residuals pull hard.

Each formula is a curve up to some width and a line beyond it. What is beyond is split off: the curve at the rest, plus
the slope times it.
"""

import torch
from torch import Tensor


def wing(input: Tensor, target: Tensor, width: float = 10.0, epsilon: float = 2.0) -> Tensor:
    r""":math:`w \log(1 + |e|/\epsilon)` where :math:`|e| < w`, else :math:`|e| - w + w \log(1 + w/\epsilon)`.

    Args:
        input: predictions, any shape; :math:`e = x - y`.
        target: truths, the same shape.
        width: :math:`w`, where the logarithm turns into a line, above 0.
        epsilon: :math:`\epsilon`, above 0; the slope at 0 is :math:`w/\epsilon`.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> wing(torch.tensor([2.0, 12.0]), torch.zeros(2))  # 10 log 2, 2 + 10 log 6
    tensor([ 6.9315, 19.9176])
    """
    size = torch.abs(input - target)
    beyond = torch.relu(size - width)
    return width * torch.log1p((size - beyond) / epsilon) + beyond


def adaptive_wing(
    input: Tensor, target: Tensor, omega: float = 14.0, theta: float = 0.5, epsilon: float = 1.0, alpha: float = 2.1
) -> Tensor:
    r""":math:`\omega \log(1 + |e/\epsilon|^p)` where :math:`|e| < \theta`, else its tangent; :math:`p = \alpha - y`.

    With a truth of 0 it is about a parabola near 0, with a truth of 1 about a cone. The second derivative at a residual
    of 0, infinite for truths above :math:`\alpha - 2`, is given as 0.

    Args:
        input: predictions :math:`x`, any shape; :math:`e = x - y`.
        target: truths :math:`y` in [0, 1], the same shape.
        omega: :math:`\omega`, above 0.
        theta: :math:`\theta`, where the tangent begins, above 0.
        epsilon: :math:`\epsilon`, above 0.
        alpha: :math:`\alpha`, above 2 so that the slope is 0 at 0.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> adaptive_wing(torch.tensor([0.25, 2.0]), torch.tensor([0.0, 1.0]))
    tensor([ 0.7417, 10.2594])
    """
    size, power = torch.abs(input - target), alpha - target
    beyond = torch.relu(size - theta)
    within = (size - beyond).clamp(min=torch.finfo(size.dtype).tiny)
    at_theta = (theta / epsilon) ** power
    slope = omega * power * at_theta / (1 + at_theta) / theta
    return omega * torch.log1p((within / epsilon) ** power) + slope * beyond
