"""How many samples lie among real images, and how many real images among samples."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

ROWS = 1000  # of a table of distances at a time


def radii(points: Tensor, k: int) -> Tensor:
    """The distance of each of N points [N, D] to its k-th nearest neighbour, [N].

    >>> radii(torch.tensor([[0.0], [1.0], [3.0]]), k=1)
    tensor([1., 1., 2.])
    """
    nearest = [torch.cdist(rows, points).topk(k + 1, largest=False).values[:, -1] for rows in torch.split(points, ROWS)]
    return torch.cat(nearest)  # k + 1, as each is its own nearest


def share_covered(points: Tensor, centres: Tensor, radius: Tensor) -> Tensor:
    """The share of points [N, D] that lie in at least one of the balls around centres [M, D].

    >>> share_covered(torch.tensor([[0.5], [9.0]]), torch.tensor([[0.0]]), torch.tensor([1.0]))
    tensor(0.5000)
    """
    covered = [(torch.cdist(rows, centres) <= radius).any(1) for rows in torch.split(points, ROWS)]
    return torch.cat(covered).float().mean()


class NeighbourPrecision(Metric):
    r"""Precision and recall of a generator, by nearest neighbours in some features.

    With the balls around real features that reach to their k-th nearest real neighbour, precision is the share of
    samples in one of them; with those around samples, recall is the share of real ones. A generator that shows a few
    perfect images has precision 1 and recall near 0. Kynkäänniemi et al. 2019,
    `arXiv:1904.06991 <https://arxiv.org/abs/1904.06991>`_.

    Args:
        k: which neighbour.
    """

    real: list[Tensor]
    fake: list[Tensor]

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.k = k
        self.add_state("real", default=[], dist_reduce_fx="cat")
        self.add_state("fake", default=[], dist_reduce_fx="cat")

    def update(self, features: Tensor, real: bool) -> None:
        """Add features [N, D]."""
        (self.real if real else self.fake).append(features)

    def compute(self) -> dict[str, Tensor]:
        """``{"precision": ..., "recall": ...}``; 0 of k or fewer images, which have no k-th neighbour."""
        real, fake = dim_zero_cat(self.real), dim_zero_cat(self.fake)
        if min(len(real), len(fake)) <= self.k:
            return {"precision": torch.tensor(0.0), "recall": torch.tensor(0.0)}
        return {
            "precision": share_covered(fake, real, radii(real, self.k)),
            "recall": share_covered(real, fake, radii(fake, self.k)),
        }
