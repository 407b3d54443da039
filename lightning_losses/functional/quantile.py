"""Quantiles: what it costs to miss one, and what it costs to have them in the wrong order."""

import torch
from torch import Tensor


def pinball(input: Tensor, target: Tensor, quantile: float | Tensor) -> Tensor:
    r""":math:`\tau \max(y - x, 0) + (1 - \tau) \max(x - y, 0)`, least where a share :math:`\tau` of truths is below.

    Args:
        input: predictions :math:`x`, any shape.
        target: truths :math:`y`; the shapes are broadcast.
        quantile: :math:`\tau` in (0, 1); a tensor is broadcast too.

    Returns:
        Values in :math:`[0, \infty)`, of the broadcast shape; the derivative is 0 where they are 0.

    >>> import torch
    >>> pinball(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0]), 0.75)
    tensor([0.7500, 0.2500])
    """
    return quantile * torch.relu(target - input) + (1 - quantile) * torch.relu(input - target)


def quantile_crossing(input: Tensor) -> Tensor:
    r"""How far each quantile is above its upper neighbour, :math:`\sum_q \max(x_q - x_{q+1}, 0)`.

    Args:
        input: predicted quantiles in increasing order [N, Q, *].

    Returns:
        Values in :math:`[0, \infty)` [N, *]; 0 where the order is right.

    >>> import torch
    >>> quantile_crossing(torch.tensor([[1.0, 2.0, 3.0], [1.0, 4.0, 3.0]]))
    tensor([0., 1.])
    """
    return torch.relu(-input.diff(dim=1)).sum(1)


def empirical_quantile(values: Tensor, quantile: Tensor) -> Tensor:
    r"""For each :math:`\tau` the least value that a share :math:`\tau` of all values does not exceed.

    Of any constant it has the least mean `pinball`. Unlike `torch.quantile` it takes any number of values.

    Args:
        values: any shape; NaN are left out.
        quantile: :math:`\tau` in (0, 1), any shape.

    Returns:
        Of the shape of `quantile`; NaN where there are no values.

    >>> import torch
    >>> empirical_quantile(torch.tensor([4.0, 1.0, torch.nan, 2.0, 3.0]), torch.tensor([0.25, 0.9]))
    tensor([1., 4.])
    """
    ordered = torch.cat([values.flatten(), values.new_full((1,), torch.nan)]).sort().values  # NaN come last
    rank = (quantile * values.isnan().logical_not().sum()).ceil() - 1
    return ordered[rank.clamp(min=0).long()]
