"""Losses of this recipe, which count per object."""

from torch import Tensor

from lightning_losses.distributed import world_size
from lightning_losses.losses import SigmoidFocal, Varifocal
from lightning_losses.reduction import Parts


class DenseFocal(SigmoidFocal):
    r"""Focal loss summed over all locations, divided by the number of objects' locations (and one more) of all ranks.

    :math:`\frac{1}{P + 1} \sum_{a, c} \mathrm{focal}(x_{ac}, t_{ac})` with :math:`P = \sum_{a, c} t_{ac}`, as
    RetinaNet and FCOS divide, but for the one more, with which images without any object teach the background too. A
    mean over locations would vanish with the size of the image.

    Range :math:`[0, \infty)`; reference: what the share of objects' locations scores as the probability of them all.

    Args:
        alpha: weight of the objects' locations, in [0, 1].
        gamma: focusing, at least 0.

    >>> import torch
    >>> targets = torch.tensor([[1, 0], [0, 0]])
    >>> DenseFocal(alpha=None, gamma=0.0)(torch.zeros(2, 2), targets)  # 4 log 2 / 2
    tensor(1.3863)
    """

    def __init__(self, *, alpha: float | None = 0.25, gamma: float = 2.0) -> None:
        super().__init__(alpha=alpha, gamma=gamma)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Focal losses, each counted only where there is an object."""
        return _per_object(super().elements(input, target).values, target > 0)

    def uninformed(self, input: Tensor, target: Tensor) -> Tensor:
        """The log-odds of the share of objects' locations."""
        positives = target.sum().to(input.dtype)
        odds = (positives + 1) / (target.numel() - positives + 1)
        return odds.log().expand_as(input)


class DenseVarifocal(Varifocal):
    r"""Varifocal loss summed over all locations, divided by the objects' locations (and one more) of all ranks.

    :math:`\frac{1}{P + 1} \sum_{a, c} \mathrm{varifocal}(x_{ac}, q_{ac})` with the number :math:`P` of locations and
    classes with :math:`q_{ac} > 0`; see `DenseFocal`. Its scores tell the quality of the box: with it, set the model's
    `score` to ``"class"``; no term of the centerness is needed.

    Range from :math:`\frac{1}{P + 1} \sum q_{ac} H(q_{ac})` to :math:`\infty`; reference: what even odds score.

    Args:
        alpha: weight of the locations without an object, at least 0.
        gamma: their focusing, at least 0.

    >>> import torch
    >>> quality = torch.tensor([[0.5, 0.0], [0.0, 0.0]])
    >>> DenseVarifocal(gamma=0.0)(torch.zeros(2, 2), quality)  # (0.5 + 3 * 0.75) / 2 log 2
    tensor(0.9531)
    """

    def __init__(self, *, alpha: float = 0.75, gamma: float = 2.0) -> None:
        super().__init__(alpha=alpha, gamma=gamma)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """Varifocal losses, each counted only where there is an object."""
        return _per_object(super().elements(input, target).values, target > 0)


def _per_object(values: Tensor, positive: Tensor) -> Parts:
    one_more = 1 / max(1, values.numel() * world_size())
    return Parts(values, positive.to(values.dtype) + one_more)
