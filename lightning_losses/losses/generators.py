"""Losses of generators: what the logits that a discriminator gives to fake samples cost."""

import math

from torch import Tensor

from lightning_losses.checks import check_same_shape
from lightning_losses.functional.gan import (
    least_squares_generator,
    minimax_generator,
    non_saturating_generator,
    relativistic_discriminator,
    wasserstein_generator,
)
from lightning_losses.losses.base import ElementwiseLoss, UnaryLoss
from lightning_losses.reduction import Parts


class MinimaxGenerator(UnaryLoss):
    r"""What the discriminator gains from fake samples, :math:`\log(1 - \sigma(f))`.

    The generator's side of the game of Goodfellow et al., "Generative adversarial nets", 2014, beside
    `LogisticDiscriminator`. For theory, where the game has one value for both sides.

    Range :math:`(-\infty, 0]`, and no reference: even odds score :math:`-\log 2`, but without a least value there is
    nothing to normalise by.

    Trap: its gradient vanishes where the discriminator is sure, which is how training begins. Use
    `NonSaturatingGenerator`.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> import torch
    >>> MinimaxGenerator()(torch.zeros(4))  # -log 2
    tensor(-0.6931)
    """

    inputs = ("fake",)
    lower = -math.inf
    upper = 0.0

    def of(self, input: Tensor) -> Parts:
        """Values of the shape of the logits."""
        return Parts(minimax_generator(input))


class NonSaturatingGenerator(UnaryLoss):
    r"""Cross-entropy of passing for real, :math:`-\log \sigma(f)`.

    Goodfellow et al., "Generative adversarial nets", 2014. For generators beside `LogisticDiscriminator`: it has the
    fixed points of `MinimaxGenerator` and its steepest slope where that is flat. Range :math:`[0, \infty)`; reference
    :math:`\log 2`, what even odds score.

    Trap: unlike with a supervised loss, 1 is where the game is balanced, and 0 is a discriminator that has lost.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> import torch
    >>> NonSaturatingGenerator()(torch.zeros(4))  # log 2
    tensor(0.6931)
    """

    inputs = ("fake",)
    reference = math.log(2)

    def of(self, input: Tensor) -> Parts:
        """Values of the shape of the logits."""
        return Parts(non_saturating_generator(input))


class LeastSquaresGenerator(UnaryLoss):
    r"""Squared distance to the score of real samples, :math:`\frac12 (f - 1)^2`.

    Mao et al., "Least squares generative adversarial networks", 2017. For generators beside
    `LeastSquaresDiscriminator`. Range :math:`[0, \infty)`; reference 1/8, what the constant score 1/2 costs.

    Trap: a sample that scores above 1 is pulled back.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> import torch
    >>> LeastSquaresGenerator()(torch.tensor([0.5]))
    tensor(0.1250)
    """

    inputs = ("fake",)
    reference = 0.125

    def of(self, input: Tensor) -> Parts:
        """Values of the shape of the scores."""
        return Parts(least_squares_generator(input))


class WassersteinGenerator(UnaryLoss):
    r"""The score of fake samples, to be raised: :math:`-f`.

    Arjovsky et al., "Wasserstein GAN", 2017. For generators beside `WassersteinDiscriminator`. Range
    :math:`(-\infty, \infty)`, and no reference.

    Trap: a critic's scores are known up to a constant only, so the value alone says nothing. Look at the gap, minus
    `WassersteinDiscriminator`.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> import torch
    >>> WassersteinGenerator()(torch.tensor([2.0]))
    tensor(-2.)
    """

    inputs = ("fake",)
    lower = -math.inf

    def of(self, input: Tensor) -> Parts:
        """Values of the shape of the scores."""
        return Parts(wasserstein_generator(input))


class HingeGenerator(WassersteinGenerator):
    r"""The generator's side of the hinge loss, :math:`-f`.

    Lim and Ye, "Geometric GAN", 2017; the same formula as `WassersteinGenerator`. For generators beside
    `HingeDiscriminator`. Range :math:`(-\infty, \infty)`, and no reference.

    Trap: a discriminator with hinges is content beyond 1, but the generator goes on.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    >>> import torch
    >>> HingeGenerator()(torch.tensor([2.0]))
    tensor(-2.)
    """


class RelativisticGenerator(ElementwiseLoss):
    r"""A fake sample is to score higher than the real one it is paired with, :math:`-\log \sigma(f - r)`.

    Jolicoeur-Martineau, "The relativistic discriminator", 2018; Huang et al., "The GAN is dead; long live the GAN!",
    2024. For generators beside `RelativisticDiscriminator`. Range :math:`[0, \infty)`; reference :math:`\log 2`, what
    equal scores cost.

    Trap: call it with (fake, real), the reverse of the discriminator's order. As a term it takes both from the call by
    name.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `fake` and `real` differ in shape.

    >>> import torch
    >>> RelativisticGenerator()(torch.ones(4), torch.ones(4))  # log 2
    tensor(0.6931)
    """

    inputs = ("fake", "real")
    reference = math.log(2)

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """One value per pair."""
        check_same_shape("real", target, "fake", input)
        return Parts(relativistic_discriminator(input, target))
