"""Tversky's index: overlap in which what is predicted too much and what is missed cost differently."""

import torch
from torch import Tensor

from lightning_losses.numerics import safe_divide


def tversky_distance(
    intersection: Tensor,
    predicted: Tensor,
    true: Tensor,
    alpha: float = 0.3,
    beta: float = 0.7,
    smoothing: float = 0.0,
) -> Tensor:
    r""":math:`1 - \dfrac{I + s}{I + \alpha (P - I) + \beta (T - I) + s}`: 0 for a perfect overlap, 1 for none.

    Args:
        intersection: :math:`I`, any shape.
        predicted: :math:`P`, the same shape.
        true: :math:`T`, the same shape.
        alpha: cost :math:`\alpha \ge 0` of the false positives :math:`P - I`.
        beta: cost :math:`\beta > 0` of the false negatives :math:`T - I`.
        smoothing: :math:`s \ge 0`.

    Returns:
        Values in [0, 1]; 1 where all three sums and the smoothing are 0.

    >>> import torch
    >>> tversky_distance(*torch.tensor([[1.0, 1.0], [4.0, 1.0], [1.0, 4.0]]))  # three too many, three missed
    tensor([0.4737, 0.6774])
    """
    wrong = alpha * (predicted - intersection) + beta * (true - intersection)
    return 1 - safe_divide(intersection + smoothing, intersection + wrong + smoothing)


def focal_power(distance: Tensor, gamma: float = 4 / 3) -> Tensor:
    r""":math:`d^{1/\gamma}`, without the infinite slope at 0: any :math:`d` below the dtype's epsilon counts as that.

    Args:
        distance: :math:`d` in [0, 1], any shape.
        gamma: :math:`\gamma > 0`; above 1 it lifts small distances, so that what is nearly right keeps its gradient.

    Returns:
        Values in [0, 1], the same shape.

    >>> import torch
    >>> focal_power(torch.tensor([0.0, 0.01, 1.0]), gamma=2.0)
    tensor([3.4527e-04, 1.0000e-01, 1.0000e+00])
    """
    return distance.clamp(min=torch.finfo(distance.dtype).eps).pow(1 / gamma)
