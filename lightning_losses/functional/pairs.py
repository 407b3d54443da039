r"""Losses of distances: what belongs together is to be near, and the rest far.

Rows :math:`i` of a matrix of distances are anchors and columns :math:`j` the candidates that they are compared with;
`positive` marks the pairs that belong together and `negative` those that do not. What is in neither does not count.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses.numerics import widest


def unit_vectors(input: Tensor) -> Tensor:
    r""":math:`x / \lVert x \rVert_2` along the last dimension; 0, with a finite derivative, where :math:`x = 0`.

    Args:
        input: vectors [*, D].

    Returns:
        Vectors [*, D] of length 1 or 0.

    >>> import torch
    >>> unit_vectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    square = (input * input).sum(-1, keepdim=True)
    return input * square.masked_fill(square == 0, 1.0).rsqrt()


def inner_products(input: Tensor, other: Tensor) -> Tensor:
    r""":math:`x_i \cdot y_j`, in the precision of the vectors also under autocast.

    Args:
        input: vectors :math:`x` [N, D].
        other: vectors :math:`y` [M, D].

    Returns:
        Values [N, M].

    >>> import torch
    >>> inner_products(torch.eye(2), torch.tensor([[1.0, 2.0]]))
    tensor([[1.],
            [2.]])
    """
    with torch.autocast(input.device.type, enabled=False):
        return input @ other.T


def pairwise_distance(input: Tensor, other: Tensor) -> Tensor:
    r"""Euclidean distances :math:`\lVert x_i - y_j \rVert_2`, with derivatives of 0 where they are 0.

    From inner products, which need no N x M x D numbers, and in float64: in float32 their difference would put two
    equal vectors of length 1 up to 0.001 apart.

    Args:
        input: vectors :math:`x` [N, D].
        other: vectors :math:`y` [M, D].

    Returns:
        Values in :math:`[0, \infty)` [N, M]; 0 for what is below a millionth of the vectors' lengths.

    >>> import torch
    >>> pairwise_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[5., 0.]])
    """
    x, y = widest(input), widest(other)
    lengths = x.square().sum(1).unsqueeze(1) + y.square().sum(1)
    square = lengths - 2 * inner_products(x, y)
    none = square <= 1e-12 * lengths
    return square.masked_fill(none, 1.0).sqrt().masked_fill(none, 0.0).to(input.dtype)


def batch_hard_triplet(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    r""":math:`\max(0, \max_{p} d_{ip} - \min_{n} d_{in} + m)`: the farthest positive against the nearest negative.

    Args:
        distance: :math:`d` [N, M], at least one column.
        positive: which candidates belong to the anchor, boolean [N, M].
        negative: which do not, likewise.
        margin: :math:`m > 0`.

    Returns:
        Values in :math:`[0, \infty)` [N]; of no meaning for anchors without a positive or without a negative.

    >>> import torch
    >>> same = torch.tensor([[False, True, True, False, False]])
    >>> other = torch.tensor([[False, False, False, True, True]])
    >>> batch_hard_triplet(torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]]), same, other, margin=1.0)
    tensor([0.7500])
    """
    farthest = distance.masked_fill(~positive, 0.0).amax(1)
    nearest = distance.masked_fill(~negative, math.inf).amin(1)
    return F.relu(farthest - nearest + margin)


def batch_all_triplet(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    r""":math:`\sum_p \sum_n \max(0, d_{ip} - d_{in} + m)`: every triplet of an anchor.

    A positive at :math:`d` adds :math:`k (d + m)` less the sum of the :math:`k` negatives nearer than :math:`d + m`.
    Sorted negatives and their running sums thus do in :math:`O(N M \log M)` what a cube of N x M x M triplets would.

    Args:
        distance: :math:`d` [N, M].
        positive: which candidates belong to the anchor, boolean [N, M].
        negative: which do not, likewise.
        margin: :math:`m > 0`.

    Returns:
        Values in :math:`[0, \infty)` [N].

    >>> import torch
    >>> same = torch.tensor([[False, True, True, False, False]])
    >>> other = torch.tensor([[False, False, False, True, True]])
    >>> batch_all_triplet(torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]]), same, other, margin=1.0)
    tensor([2.])
    """
    reach = distance + margin
    nearest_first = distance.masked_fill(~negative, math.inf).sort(1).values
    within = torch.searchsorted(nearest_first.detach(), reach.detach())
    running = F.pad(nearest_first.masked_fill(nearest_first.isinf(), 0.0).cumsum(1), (1, 0))
    return (within * reach - running.gather(1, within)).masked_fill(~positive, 0.0).sum(1)


def contrastive_pairs(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    r""":math:`d^2` for pairs that belong together, :math:`\max(0, m - d)^2` for those that do not.

    Args:
        distance: :math:`d`, any shape.
        positive: which pairs belong together, boolean, the same shape.
        negative: which do not, likewise.
        margin: :math:`m > 0`.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `distance`; 0 for pairs that are neither.

    >>> import torch
    >>> yes, no = torch.tensor([True, False]), torch.tensor([False, True])
    >>> contrastive_pairs(torch.tensor([0.5, 0.5]), yes, no, margin=1.0)
    tensor([0.2500, 0.2500])
    """
    pull = distance.square().masked_fill(~positive, 0.0)
    return pull + F.relu(margin - distance).square().masked_fill(~negative, 0.0)
