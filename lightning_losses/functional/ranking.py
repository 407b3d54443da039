r"""Ranking: the items of a query are to be scored in the order of their relevance.

Scores :math:`s` and relevances :math:`r` are [Q, n], a query a row; `mask` [Q, n] is False where a row is padded.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses.numerics import safe_divide, widest


def pairwise_logistic(input: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    r""":math:`\log(1 + e^{-(s_i - s_j)})` for each pair with :math:`r_i > r_j`.

    Args:
        input: scores [Q, n].
        target: relevances [Q, n].
        mask: which items there are [Q, n].

    Returns:
        Values in :math:`[0, \infty)` [Q, n, n], 0 for what is no such pair, and whether it is one.

    >>> import torch
    >>> values, pairs = pairwise_logistic(torch.zeros(1, 2), torch.tensor([[1, 0]]), torch.ones(1, 2) > 0)
    >>> values  # log 2
    tensor([[[0.0000, 0.6931],
             [0.0000, 0.0000]]])
    """
    pairs = (_differences(target.to(input.dtype)) > 0) & mask.unsqueeze(2) & mask.unsqueeze(1)
    return F.softplus(-_differences(input)).masked_fill(~pairs, 0.0), pairs


def listnet(input: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    r""":math:`-\sum_i q_i \log p_i` with the softmax :math:`q` of relevances and :math:`p` of scores.

    The cross-entropy of the chances of each item to be the first.

    Args:
        input: scores :math:`s` [Q, n].
        target: relevances :math:`r` [Q, n].
        mask: which items there are [Q, n].

    Returns:
        Values in :math:`[H(q), \infty)` [Q].

    >>> import torch
    >>> listnet(torch.zeros(1, 2), torch.tensor([[1, 0]]), torch.ones(1, 2) > 0)  # log 2
    tensor([0.6931])
    """
    absent = torch.finfo(input.dtype).min / 2  # minus infinity would be NaN in a row of padding only
    log_p = input.masked_fill(~mask, absent).log_softmax(1)
    q = target.to(input.dtype).masked_fill(~mask, absent).softmax(1)
    return -(q * log_p).masked_fill(~mask, 0.0).sum(1)


def listmle(input: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    r""":math:`\sum_i \log \sum_{j \ge i} e^{s_j} - s_i`, with the items in descending order of relevance.

    Minus the log-likelihood of that order when items are drawn one after the other with the chances
    :math:`\operatorname{softmax}(s)` of what is left. Of equally relevant items the given order is taken.

    Args:
        input: scores :math:`s` [Q, n].
        target: relevances [Q, n].
        mask: which items there are [Q, n].

    Returns:
        Values in :math:`[0, \infty)` [Q].

    >>> import torch
    >>> listmle(torch.zeros(1, 3), torch.tensor([[0, 2, 1]]), torch.ones(1, 3) > 0)  # log 3!
    tensor([1.7918])
    """
    order = target.to(input.dtype).masked_fill(~mask, -math.inf).argsort(dim=1, descending=True, stable=True).flip(1)
    absent = torch.finfo(input.dtype).min / 2  # minus infinity would be NaN in the derivatives
    scores = input.masked_fill(~mask, absent).gather(1, order)
    return (scores.logcumsumexp(1) - scores).masked_fill(~mask.gather(1, order), 0.0).sum(1)


def ndcg_change(input: Tensor, target: Tensor, mask: Tensor, top: int | None = None) -> Tensor:
    r"""By how much NDCG changes if two items swap places, :math:`|G_i - G_j|\,|D_i - D_j| / \text{ideal DCG}`.

    :math:`G = 2^r - 1` is an item's gain and :math:`D = 1 / \log_2(1 + \text{place})` the discount of its place in
    descending order of scores, 0 beyond the first `top` places. Items with equal scores are in any order with the same
    chance, and :math:`|D_i - D_j|` is its expectation: nothing depends on the order in which they are given.

    Args:
        input: scores [Q, n].
        target: relevances :math:`r \ge 0` [Q, n].
        mask: which items there are [Q, n].
        top: how many places count; None for all.

    Returns:
        Values in [0, 1] [Q, n, n]; 0 for pairs that are not there.

    >>> import torch
    >>> ndcg_change(torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 1]]), torch.ones(1, 2) > 0)  # 1 - 1 / log2(3)
    tensor([[[0.0000, 0.3691],
             [0.3691, 0.0000]]])
    """
    scores, there = input.detach(), mask.unsqueeze(1)
    before = (_differences(scores) < 0) & there
    level = (_differences(scores) == 0) & there
    first, size = before.sum(2), level.sum(2).clamp(min=1)  # of the places shared with equal scores
    discount, apart = _tied_discounts(first, size, top)
    gap = torch.where(level, apart.unsqueeze(2), _differences(discount).abs())

    gain = (torch.exp2(widest(target)) - 1).masked_fill(~mask, 0.0)
    places = _discounts(gain, top)
    ideal = (gain.sort(1, descending=True).values * places).sum(1)
    change = safe_divide(_differences(gain).abs() * gap, ideal.reshape(-1, 1, 1))
    return change.masked_fill(~(there & mask.unsqueeze(2)), 0.0).to(input.dtype)


def _differences(values: Tensor) -> Tensor:
    """v_i - v_j [Q, n, n] of values [Q, n]."""
    return values.unsqueeze(2) - values.unsqueeze(1)


def _discounts(like: Tensor, top: int | None) -> Tensor:
    """1 / log2(1 + place) of the places 1..n of [Q, n], 0 beyond the first `top`."""
    places = torch.arange(1, like.shape[1] + 1, device=like.device)
    discounts = 1 / torch.log2(1 + places.to(like.dtype))
    return discounts if top is None else discounts.masked_fill(places > top, 0.0)


def _tied_discounts(first: Tensor, size: Tensor, top: int | None) -> tuple[Tensor, Tensor]:
    """Of items that share the places first + 1..first + size in a random order: their discounts, and how far apart.

    Both are expectations [Q, n]; that of the distance between two of them is the mean over all pairs of places.
    """
    discounts = _discounts(widest(first.float()), top)
    places = torch.arange(1, len(discounts) + 1, device=first.device)
    sums = F.pad(torch.stack([discounts, places * discounts]).cumsum(1), (1, 0))
    total, moment = sums[:, first + size] - sums[:, first]
    pairs = size * (size - 1)
    return total / size, safe_divide(2 * ((2 * first + size + 1) * total - 2 * moment), pairs)
