"""Metric learning by classification: which of all candidates belongs to the anchor."""

import torch
from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_number
from lightning_losses.distributed import sum_over_ranks
from lightning_losses.functional.contrastive import info_nce, info_nce_range
from lightning_losses.functional.pairs import inner_products
from lightning_losses.losses.embeddings import EmbeddingLoss, Pairs
from lightning_losses.reduction import Parts


class InfoNCE(EmbeddingLoss):
    r"""InfoNCE, :math:`\log \sum_{j \ne i} e^{s_{ij}} - \frac{1}{|P_i|} \sum_{p \in P_i} s_{ip}`.

    For representations learned from views of the same sample, or from labels, in large batches. Embeddings [N, D]
    against labels [N]. :math:`s_{ij}` is the cosine of two embeddings divided by the temperature :math:`\tau`, and
    :math:`P_i` are the others with the label of the anchor i; the mean is over anchors that have any. With two views of
    each of N images and ``target=torch.arange(N).repeat(2)`` it is the NT-Xent of Chen et al., "A simple framework for
    contrastive learning of visual representations" (SimCLR), 2020; with class labels it is the loss of Khosla et al.,
    "Supervised contrastive learning", 2020, with the mean outside of the logarithm.

    Range: with K negatives and one positive each, from :math:`\log(1 + K e^{-2 / \tau})` to
    :math:`\log(1 + K e^{2 / \tau})`; reference: what equal embeddings score, :math:`\log(K + 1)`. With all classes of
    equal size, the lower bound is what they score in the corners of a simplex, as more than two cannot all be
    opposites: for two views of N images :math:`\log(1 + K e^{-\frac{N}{N - 1} / \tau})`.

    Traps: 0 is out of reach, and values of two batch sizes or temperatures cannot be compared; normalised ones can.
    Accumulating gradients adds no candidates.

    Differs from others: similarities are N x N numbers, not pairs times negatives. Nothing is added inside of a
    logarithm, so no value is capped and no gradient vanishes at low temperatures, and cosines are taken in float32
    under autocast. Under DDP the candidates are the embeddings of all ranks, and have gradients on all of them: ranks
    equal one process with the union of their batches, which may be of unequal size.

    Args:
        temperature: :math:`\tau`, above 0.
        gather: compare with the embeddings of all ranks, not of this rank alone.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N], 0 without a positive).

    Raises:
        TypeError: labels of a floating dtype.
        ValueError: a hyperparameter out of its range, shapes that do not fit, a `weight`.

    >>> import torch
    >>> InfoNCE()(torch.ones(6, 8), torch.arange(3).repeat(2))  # log 5
    tensor(1.6094)
    """

    def __init__(self, *, temperature: float = 0.1, gather: bool = True, reduction: str = "mean") -> None:
        super().__init__(normalize=True, gather=gather, reduction=reduction)
        self.temperature = check_number("temperature", temperature, above=0)

    def anchors(self, anchors: Tensor, candidates: Tensor, pairs: Pairs) -> Parts:
        """Cross-entropies [N], counted where there is a positive."""
        similarity = inner_products(anchors / self.temperature, candidates)
        positive = pairs.positive.to(similarity.dtype)
        return Parts(info_nce(similarity, positive, pairs.excluded), positive.sum(1).clamp(max=1))

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """All embeddings equal."""
        return torch.ones_like(input)

    @torch.no_grad()
    def statistics(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """As `Loss.statistics`, and the sums of the least and the greatest value that each anchor can have."""
        known = super().statistics(input, target, weight, mask)
        pairs = self.pairs(target.long(), mask)
        positives, negatives = pairs.positive.sum(1), pairs.negative.sum(1)
        there = positives + negatives > 0
        moments = torch.stack([there.sum(), positives.sum(), positives.square().sum()])
        number, total, squares = sum_over_ranks(moments) if self.gather else moments
        equal_classes = number * squares == total.square()
        ranges = info_nce_range(positives, negatives, self.temperature, equal_classes)
        sums = torch.stack(ranges).masked_fill(positives == 0, 0.0).sum(1)
        return torch.cat([known, sum_over_ranks(sums)])

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """From the `statistics` of batches."""
        if self.reduction == "sum" or statistics is None or statistics.numel() == 0:
            return super().bounds()
        uninformed, count, least, greatest = statistics
        return Bounds(least / count, greatest / count, uninformed / count)
