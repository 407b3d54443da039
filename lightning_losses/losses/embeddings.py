"""What the losses of embeddings share: which of them belong together, on this rank and on all."""

from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses.checks import message
from lightning_losses.distributed import differentiable_gather, rows_around
from lightning_losses.functional.pairs import unit_vectors
from lightning_losses.losses.base import Loss
from lightning_losses.reduction import Parts


class Pairs(NamedTuple):
    """Pairs of N anchors and M candidates.

    Args:
        positive: which candidates belong to the anchor, boolean [N, M].
        excluded: which do not count, likewise: the anchor itself and what is masked.
        around: how many candidates the ranks before this one hold, and those after.
    """

    positive: Tensor
    excluded: Tensor
    around: tuple[int, int]

    @property
    def negative(self) -> Tensor:
        """Which candidates do not belong to the anchor, boolean [N, M]."""
        return ~(self.positive | self.excluded)


class EmbeddingLoss(Loss):
    """A loss of embeddings [N, D] of which those with equal labels [N] belong together: `anchors` is its formula.

    Every embedding is an anchor, compared with the embeddings of all ranks or, without `gather`, of its own. There are
    no weights, because a repeated embedding would be a positive of itself; a mask deletes embeddings.
    """

    def __init__(self, *, normalize: bool, gather: bool, reduction: str) -> None:
        super().__init__(reduction=reduction)
        self.normalize = normalize
        self.gather = gather

    @abstractmethod
    def anchors(self, anchors: Tensor, candidates: Tensor, pairs: Pairs) -> Parts:
        """Values [N] and counts of the anchors.

        Args:
            anchors: this rank's embeddings [N, D], of length 1 if normalised.
            candidates: what they are compared with [M, D], themselves among them.
            pairs: which of them belong together.
        """

    def parts(self, input: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor | None) -> Parts:
        """The anchors of this rank."""
        if weight is not None:
            raise ValueError(message("weight", "None, as pairs have no weights", tuple(weight.shape)))
        pairs = self.pairs(check_embeddings(input, target), mask)
        anchors = unit_vectors(input) if self.normalize else input
        candidates = self.gathered(anchors, pairs.around)
        if not len(candidates):  # nor anchors: extrema over no candidate would be an error
            return Parts(input.sum(1))
        return self.anchors(anchors, candidates, pairs)

    def pairs(self, labels: Tensor, mask: Tensor | None) -> Pairs:
        """Which candidates belong to each anchor, and which do not count."""
        around = rows_around(labels) if self.gather else (0, 0)
        excluded = F.pad(torch.eye(len(labels), dtype=torch.bool, device=labels.device), around)
        if mask is not None:
            kept = mask.expand_as(labels)
            excluded = excluded | ~kept.unsqueeze(1) | (self.gathered(kept.long(), around) == 0)
        positive = (labels.unsqueeze(1) == self.gathered(labels, around)) & ~excluded
        return Pairs(positive, excluded, around)

    def gathered(self, tensor: Tensor, around: tuple[int, int]) -> Tensor:
        """The rows of all ranks, or without `gather` those of this one."""
        return differentiable_gather(tensor, around) if self.gather else tensor


def check_embeddings(input: Tensor, target: Tensor) -> Tensor:
    """The labels of embeddings, in int64.

    Raises:
        TypeError: labels that are not of an integer dtype.
        ValueError: embeddings that are not [N, D], or labels that are not [N].
    """
    if input.dim() != 2:
        raise ValueError(message("input", "embeddings of shape [N, D]", tuple(input.shape)))
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(message("target", "labels of an integer dtype", target.dtype))
    if target.shape != input.shape[:1]:
        raise ValueError(message("target", f"{len(input)} labels, one per embedding", tuple(target.shape)))
    return target.long()
