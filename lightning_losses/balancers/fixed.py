"""The user's own weights."""

from torch import Tensor

from lightning_losses.balancers.base import Balanced, Balancer, Present, weighted_sum
from lightning_losses.balancers.probe import Probe


class Fixed(Balancer):
    r"""The weights that the terms were given, numbers or schedules.

    Args:
        normalize: divide by the sum over all terms, so that the weights are shares that sum to 1.

    >>> import torch
    >>> from lightning_losses import LossModule, Term, losses
    >>> terms = {"near": Term(losses.MSE(), weight=3.0), "far": Term(losses.MSE(), weight=1.0)}
    >>> criterion = LossModule(terms, balancer=Fixed(normalize=True))
    >>> criterion(torch.tensor([2.0]), torch.tensor([0.0]))
    tensor(4.)
    >>> {name: float(weight) for name, weight in criterion.report.weights.items()}
    {'near': 0.75, 'far': 0.25}
    """

    def __init__(self, normalize: bool = False) -> None:
        super().__init__()
        self.normalize = normalize

    def forward(self, losses: Tensor, priors: Tensor, present: Present, probe: Probe | None) -> Balanced:
        """The priors, or their shares of the sum."""
        weights = priors / priors.sum() if self.normalize else priors
        return weighted_sum(losses, weights if isinstance(present, slice) else weights[present])

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        return "normalize=True" if self.normalize else ""
