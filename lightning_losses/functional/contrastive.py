r"""Contrastive losses: which candidate belongs to the anchor, as a question of classification.

Rows :math:`i` of a matrix of similarities are anchors and columns :math:`j` the candidates that they are compared with.
"""

import math

import torch
from torch import Tensor

from lightning_losses.numerics import safe_divide, widest


def info_nce(similarity: Tensor, positive: Tensor, excluded: Tensor) -> Tensor:
    r""":math:`\log \sum_j e^{s_{ij}} - \frac{1}{|P_i|} \sum_{p \in P_i} s_{ip}`, the sum over all candidates.

    The cross-entropy of the one positive :math:`P_i` among the candidates; with several, the mean of theirs.

    Args:
        similarity: :math:`s`, cosines divided by a temperature [N, M].
        positive: 1 for candidates that belong to the anchor, 0 for all others [N, M], of any dtype.
        excluded: which are no candidates, such as the anchor itself, boolean [N, M].

    Returns:
        Values in :math:`[\log |P_i|, \infty)` [N]; 0 for anchors without a positive.

    >>> import torch
    >>> itself, view = torch.tensor([[True, False, False, False]]), torch.tensor([[False, True, False, False]])
    >>> info_nce(torch.zeros(1, 4), view, itself)  # log 3
    tensor([1.0986])
    """
    nothing = torch.finfo(similarity.dtype).min / 2  # minus infinity would be NaN times 0
    log_p = similarity.masked_fill(excluded, nothing).log_softmax(1)
    chosen = positive.to(log_p.dtype)
    return -(log_p * chosen).sum(1) / chosen.sum(1).clamp(min=1)


def info_nce_range(
    positives: Tensor, negatives: Tensor, temperature: float, equal_classes: Tensor
) -> tuple[Tensor, Tensor]:
    r"""The least and the greatest that `info_nce` can be for an anchor of P positives and K negatives.

    The least is :math:`\log(P + K e^{(c - 1) / \tau})`, with positives at a cosine of 1 and negatives at :math:`c`. One
    anchor is best off with -1; but in classes of equal size no mean of :math:`c` over all anchors is below
    :math:`-(P + 1) / K`, which the corners of a simplex attain. The greatest is :math:`\log(P + K e^{2 / \tau})`, with
    positives at -1 and negatives at 1; only where there are many more positives than negatives is it worse to have
    :math:`m` of the positives at 1.

    Args:
        positives: P [N].
        negatives: K [N].
        temperature: :math:`\tau > 0`.
        equal_classes: whether all classes are of equal size, boolean [].

    Returns:
        Two tensors [N] in float64.

    >>> import torch
    >>> lower, upper = info_nce_range(torch.tensor([1]), torch.tensor([2]), 1.0, torch.tensor(True))
    >>> lower, upper  # log(1 + 2 / e^2), log(1 + 2 e^2)
    (tensor([0.2395], dtype=torch.float64), tensor([2.7586], dtype=torch.float64))
    """
    p, n = widest(positives), widest(negatives)
    simplex = (-(p + 1) / n).clamp(min=-1.0)
    cosine = torch.where(equal_classes, simplex, -1.0)
    lower = torch.log(p + n * torch.exp((cosine - 1) / temperature))
    small = math.exp(-2 / temperature)
    m = (p * temperature / 2 - (n + p * small) / (1 - small)).clamp(min=0.0).minimum(p)
    upper = torch.logaddexp(torch.log(m + n) + 2 / temperature, torch.log(p - m)) - 2 / temperature * safe_divide(m, p)
    return lower, upper
