"""The loss of this recipe that no other needs."""

import torch
from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.functional.gradient_penalty import norm_deviation
from lightning_losses.losses.gradient_penalty import SampleGradientLoss
from lightning_losses.reduction import Parts


class OneSidedPenalty(SampleGradientLoss):
    r"""Keeps a critic's gradients below a norm, :math:`\max(0, \lVert \nabla_x D(x) \rVert - t)^2`: WGAN-LP.

    Petzka et al., "On the regularization of Wasserstein GANs", 2018, `arXiv:1709.08894
    <https://arxiv.org/abs/1709.08894>`_. A flatter critic costs nothing, as a Lipschitz bound asks for. Range
    :math:`[0, \infty)`; no reference, since a constant critic is perfect.

    Args:
        target: the norm :math:`t`, above 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [N]).

    >>> import torch
    >>> critic = torch.nn.Linear(2, 1)
    >>> samples = torch.randn(4, 2, requires_grad=True)
    >>> penalty = OneSidedPenalty()(critic(samples), samples)
    >>> torch.allclose(penalty, (critic.weight.norm() - 1).clamp(min=0) ** 2)
    True
    """

    inputs = ("interpolated", "interpolated_samples")

    def __init__(self, *, target: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.target = check_number("target", target, above=0)

    def of(self, input: Tensor) -> Parts:
        """One value per sample."""
        steep = input.square().sum(1) > self.target**2
        return Parts(torch.where(steep, norm_deviation(input, self.target), 0.0))
