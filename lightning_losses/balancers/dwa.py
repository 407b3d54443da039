"""Dynamic weight averaging: terms whose loss falls slowly weigh more."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_losses.balancers.base import Balanced, Balancer, Present, weighted_sum
from lightning_losses.balancers.probe import Probe
from lightning_losses.balancers.window import Window
from lightning_losses.checks import check_number
from lightning_losses.numerics import safe_divide


class DynamicWeightAverage(Balancer):
    r"""Dynamic weight average (Liu, Johns & Davison 2019, `arXiv:1803.10704 <https://arxiv.org/abs/1803.10704>`_).

    With :math:`\bar L_i(t)` the mean loss over the t-th period,

    .. math::
        w_i = p_i\, T\, \frac{e^{\rho_i / \theta}}{\sum_j e^{\rho_j / \theta}}, \qquad
        \rho_i = \frac{\bar L_i(t-1)}{\bar L_i(t-2)}

    and :math:`w_i = p_i`, the user's weights, until two periods are over. No gradient is measured.

    The paper's period is an epoch. Ours is a number of optimizer steps, so that the weights do not depend on how the
    data are cut into epochs or on the number of ranks; set it to the steps of an epoch for the paper's method.

    Args:
        period: optimizer steps over which losses are averaged.
        temperature: :math:`\theta`; larger is more even. The paper uses 2.

    Raises:
        ValueError: a parameter out of its range, or a term's loss that is negative.
    """

    takes_ratios: ClassVar[bool] = True

    loss_sum: Tensor
    loss_count: Tensor
    last_mean: Tensor
    weights: Tensor

    def __init__(self, period: int = 100, temperature: float = 2.0) -> None:
        super().__init__()
        self.period = int(check_number("period", period, at_least=1))
        self.temperature = check_number("temperature", temperature, above=0)

    def bind(self, names: Sequence[str], priors: Sequence[float]) -> None:
        """Start at equal weights; a mean of 0 stands for one that is not known."""
        super().bind(names, priors)
        self.window = Window(len(names))
        for name in ("loss_sum", "loss_count", "last_mean"):
            self._buffer(name, torch.zeros(len(names)))
        self._buffer("weights", torch.ones(len(names)))

    def forward(self, losses: Tensor, priors: Tensor, present: Present, probe: Probe | None) -> Balanced:
        """The weights of the running period."""
        if self.training and torch.is_grad_enabled():
            self.window.add(losses, present, None)
        return weighted_sum(losses, (priors * self.weights.to(losses.dtype))[present])

    @torch.no_grad()
    def step(self) -> None:
        """Count the step's losses; at the end of a period compare it with the one before."""
        measurement = self.window.close()
        if measurement is None:
            return
        super().step()
        self.loss_sum += measurement.losses
        self.loss_count += measurement.seen
        if self.steps % self.period == 0:
            mean = safe_divide(self.loss_sum, self.loss_count)
            known = (mean > 0) & (self.last_mean > 0)
            rate = torch.where(known, safe_divide(mean, self.last_mean), 1.0)
            self.weights.copy_(len(self.names) * torch.softmax(rate / self.temperature, 0))
            self.last_mean.copy_(torch.where(mean > 0, mean, self.last_mean))
            self.loss_sum.zero_()
            self.loss_count.zero_()

    def discard(self) -> None:
        """Forget the losses and gradients since the last step."""
        self.window.discard()

    def extra_repr(self) -> str:
        """The hyperparameters."""
        return f"period={self.period}, temperature={self.temperature:g}"
