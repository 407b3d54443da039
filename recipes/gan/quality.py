"""How good samples are, in the features of a LeNet."""

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance

from .lenet import LeNet
from .neighbours import NeighbourPrecision


class ClassHistogram(Metric):
    """How often each class occurs among real images and among samples.

    Args:
        classes: how many.

    >>> histogram = ClassHistogram(2)
    >>> histogram.update(torch.tensor([0, 0, 1, 1]), real=True)
    >>> histogram.update(torch.tensor([0, 0, 0, 1]), real=False)
    >>> histogram.compute()
    tensor([[2, 2],
            [3, 1]])
    """

    real: Tensor
    fake: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("real", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("fake", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, label: Tensor, real: bool) -> None:
        """Count labels [N]."""
        counts = self.real if real else self.fake
        counts += label.bincount(minlength=len(counts))

    def compute(self) -> Tensor:
        """[2, C]: how many there are of each class, real ones and samples."""
        return torch.stack([self.real, self.fake])


def total_variation(counts: Tensor) -> Tensor:
    r""":math:`\frac12 \sum_c \lvert p_c - q_c \rvert` of two histograms [2, C], in 0..1.

    0 where real images and samples have every class as often as the other, 1 where they share none. Of a generator
    that has lost one of ten equally frequent classes it is at least 0.1.

    >>> total_variation(torch.tensor([[2, 2], [3, 1]]))
    tensor(0.2500)
    """
    shares = counts / counts.sum(1, keepdim=True)
    return (shares[0] - shares[1]).abs().sum() / 2


class Given(nn.Identity):
    """Stands where torchmetrics wants a network, for features that are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


class SampleQuality:
    """Metrics of samples against real images; sums over ranks.

    - ``frechet_lenet``, the Fréchet distance of Gaussians fitted to both, as FID is (Heusel et al. 2017,
      `arXiv:1706.08500 <https://arxiv.org/abs/1706.08500>`_) but in the features of the given LeNet: no FID, and not
      to be compared with one, nor between two LeNets;
    - ``class_tv``, see `total_variation`, of the LeNet's classes;
    - ``precision`` and ``recall``, see `NeighbourPrecision`.

    Args:
        lenet: the classifier.
    """

    def __init__(self, lenet: LeNet) -> None:
        self.lenet = lenet
        device = lenet.head.bias.device
        self.frechet = FrechetInceptionDistance(feature=Given(lenet.num_features)).to(device)
        self.classes = ClassHistogram(lenet.head.out_features).to(device)
        self.neighbours = NeighbourPrecision().to(device)

    @torch.no_grad()
    def update(self, image: Tensor, real: bool) -> None:
        """Add images [N, C, S, S] of uint8."""
        with torch.autocast(image.device.type, enabled=False):
            features, logits = self.lenet(image)
        self.frechet.update(features, real=real)
        self.classes.update(logits.argmax(1), real=real)
        self.neighbours.update(features, real=real)

    def compute(self) -> tuple[dict[str, float], Tensor]:
        """All of them by name, and the histograms of classes; the images are forgotten."""
        counts = self.classes.compute()
        found = {"frechet_lenet": self.frechet.compute(), "class_tv": total_variation(counts)}
        found |= self.neighbours.compute()
        for metric in (self.frechet, self.classes, self.neighbours):
            metric.reset()
        return {name: float(value) for name, value in found.items()}, counts
