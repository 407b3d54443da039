"""Uncertainty weighting: the noise of each task is learned with the model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_losses.balancers.base import Balanced, Balancer, Present
from lightning_losses.balancers.probe import Probe


class Uncertainty(Balancer):
    r"""Homoscedastic uncertainty (Kendall, Gal & Cipolla 2018, `arXiv:1705.07115 <https://arxiv.org/abs/1705.07115>`_).

    .. math:: L = \sum_i \frac{p_i}{2} \left( e^{-s_i} L_i + s_i \right)

    with :math:`s_i = \log \sigma_i^2` learned by the model's optimizer and :math:`p_i` the user's weights. At the
    optimum :math:`s_i = \log L_i`, so each term weighs :math:`p_i / (2 L_i)` and the total is
    :math:`\sum_i \frac{p_i}{2}(1 + \log L_i)`: **negative** as soon as the losses are small. That is no error; watch
    the raw losses.

    `log_variance` is one parameter of shape [T]. It needs no weight decay; give it a parameter group of its own:
    ``{"params": criterion.balancer.parameters(), "weight_decay": 0.0}``.

    >>> import torch
    >>> from lightning_losses import LossModule, losses
    >>> criterion = LossModule({"a": losses.MSE(), "b": losses.MSE()}, balancer=Uncertainty())
    >>> criterion(torch.tensor([2.0]), torch.tensor([0.0])).item()
    4.0
    """

    is_weighted_sum = False

    log_variance: nn.Parameter

    def bind(self, names: Sequence[str], priors: Sequence[float]) -> None:
        """Start at variance 1 for every task."""
        super().bind(names, priors)
        self.log_variance = nn.Parameter(torch.zeros(len(names)))

    def forward(self, losses: Tensor, priors: Tensor, present: Present, probe: Probe | None) -> Balanced:
        r"""Weights :math:`p_i e^{-s_i} / 2`, and :math:`p_i s_i / 2`, which keeps the variances from growing."""
        log_variance = self.log_variance.to(losses.dtype)
        weights = (priors * torch.exp(-log_variance) / 2)[present]
        total = (weights * losses).sum() + (priors * log_variance / 2)[present].sum()
        return Balanced(total, weights.detach())
