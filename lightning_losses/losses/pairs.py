"""Metric learning by distances: embeddings of one class are to be near each other, and far from the others'."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_choice, check_number
from lightning_losses.functional.pairs import (
    batch_all_triplet,
    batch_hard_triplet,
    contrastive_pairs,
    pairwise_distance,
)
from lightning_losses.losses.embeddings import EmbeddingLoss, Pairs
from lightning_losses.reduction import Parts

MINING = ("batch_hard", "batch_all")


class Triplet(EmbeddingLoss):
    r"""Triplet loss, :math:`\max(0, d(a, p) - d(a, n) + m)`: nearer to one's own class than to any other, by a margin.

    For embeddings that are compared by their distance, from batches with several samples of each label. Embeddings [N,
    D] against labels [N]; :math:`d` is the Euclidean distance. Hermans et al., "In defense of the triplet loss for
    person re-identification", 2017. ``"batch_hard"`` takes for each anchor its farthest positive and nearest negative,
    and the mean over the anchors that have both. ``"batch_all"`` takes the mean over all triplets.

    Range of normalised embeddings: [0, 2 + m], or [0, 1 + m] for the mean over all triplets, because a negative that is
    near one end of a pair is far from the other; otherwise :math:`[0, \infty)`. Reference: :math:`m`, what equal
    embeddings score.

    Trap: a loss that stays at :math:`m` has collapsed: lower the learning rate, or begin with ``"batch_all"``.

    Differs from others: the mean of ``"batch_all"`` is over all triplets, not over those that still violate the margin,
    a number that jumps and that differs between ranks; so the loss shrinks as triplets become easy. It needs memory for
    N x N distances, not for N x N x N triplets. A batch without any triplet is 0. Under DDP the triplets are
    those of the batches of all ranks.

    Args:
        margin: :math:`m`, above 0.
        mining: ``"batch_hard"`` or ``"batch_all"``.
        normalize: scale embeddings to length 1.
        gather: compare with the embeddings of all ranks, not of this rank alone.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N]; with ``"batch_all"`` the sum over the anchor's
            triplets).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a `weight`.

    >>> import torch
    >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> Triplet(margin=2.0)(embeddings, torch.tensor([0, 0, 1]))  # 0 - sqrt 2 + 2
    tensor(0.5858)
    """

    def __init__(
        self,
        *,
        margin: float = 0.2,
        mining: str = "batch_hard",
        normalize: bool = True,
        gather: bool = True,
        reduction: str = "mean",
    ) -> None:
        super().__init__(normalize=normalize, gather=gather, reduction=reduction)
        self.margin = check_number("margin", margin, above=0)
        self.mining = check_choice("mining", mining, MINING)

    def anchors(self, anchors: Tensor, candidates: Tensor, pairs: Pairs) -> Parts:
        """The hardest triplet of each anchor, or the sum of all its triplets and their number."""
        distance = pairwise_distance(anchors, candidates)
        positive, negative = pairs.positive, pairs.negative
        triplets = positive.sum(1) * negative.sum(1)
        if self.mining == "batch_all":
            return Parts(batch_all_triplet(distance, positive, negative, self.margin), triplets)
        return Parts(batch_hard_triplet(distance, positive, negative, self.margin)).weighted(None, triplets > 0)

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """Known without data."""
        if self.reduction == "sum":
            return super().bounds()
        farthest = 1.0 if self.mining == "batch_all" else 2.0
        return Bounds(0.0, farthest + self.margin if self.normalize else math.inf, self.margin)


class Contrastive(EmbeddingLoss):
    r"""Contrastive loss of pairs, :math:`d^2` for equal labels and :math:`\max(0, m - d)^2` for different ones.

    For pairs of which it is known whether they are alike. Embeddings [N, D] against labels [N]; :math:`d` is the
    Euclidean distance, and the mean is over all pairs of the batch. Hadsell et al., "Dimensionality reduction by
    learning an invariant mapping", 2006, without the factor 1/2.

    Range :math:`[0, \infty)`, for normalised embeddings :math:`[0, \max(4, m^2)]`. Reference: what equal embeddings
    score, :math:`m^2` times the share of pairs with different labels.

    Traps: if there are many classes, most of the pairs have different labels, and once those are apart the mean is
    small. On a sphere any number of classes can reach 0 for a margin up to :math:`\sqrt 2`, but not beyond.

    Args:
        margin: :math:`m`, above 0.
        normalize: scale embeddings to length 1.
        gather: compare with the embeddings of all ranks, not of this rank alone.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N], the sum over the pairs of each embedding; a pair
            counts for both).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a `weight`.

    >>> import torch
    >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    >>> Contrastive(margin=1.0)(embeddings, torch.tensor([0, 0, 1]))  # 1 for two of three pairs
    tensor(0.6667)
    """

    def __init__(
        self, *, margin: float = 1.0, normalize: bool = True, gather: bool = True, reduction: str = "mean"
    ) -> None:
        super().__init__(normalize=normalize, gather=gather, reduction=reduction)
        self.margin = check_number("margin", margin, above=0)

    def anchors(self, anchors: Tensor, candidates: Tensor, pairs: Pairs) -> Parts:
        """The sum of each anchor's pairs, and their number."""
        distance = pairwise_distance(anchors, candidates)
        values = contrastive_pairs(distance, pairs.positive, pairs.negative, self.margin)
        return Parts(values.sum(1), (~pairs.excluded).sum(1))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """All embeddings equal."""
        return torch.ones_like(input)

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """As `Loss.bounds`; normalised embeddings are at most 2 apart."""
        known = super().bounds(statistics)
        if self.reduction == "sum" or not self.normalize:
            return known
        return replace(known, upper=max(4.0, self.margin**2))
