"""Mistakes with a price."""

import torch
from torch import Tensor


def expected_cost(input: Tensor, target: Tensor, costs: Tensor) -> Tensor:
    r""":math:`\sum_k p_k\, C_{ky}` with :math:`p = \operatorname{softmax}(x)`: what a guess drawn from :math:`p` costs.

    Args:
        input: logits :math:`x` [N, K, *].
        target: labels :math:`y` in 0..K-1 [N, *] (int64).
        costs: :math:`C` [K, K], of predicting the row where the column is true.

    Returns:
        Values between the least and the greatest cost [N, *].

    >>> import torch
    >>> expected_cost(torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([[0.0, 10.0], [1.0, 0.0]]))
    tensor([0.5000, 5.0000])
    """
    of_truth = costs.to(input.dtype).t()[target].movedim(-1, 1)
    return (torch.softmax(input, 1) * of_truth).sum(1)
