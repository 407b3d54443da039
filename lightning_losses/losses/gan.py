"""Losses of discriminators, for pairs of a real and a fake sample.

The generators' are in `lightning_losses.losses.generators`.
"""

import math
from abc import abstractmethod

from torch import Tensor

from lightning_losses.checks import check_same_shape
from lightning_losses.functional.gan import (
    hinge_discriminator,
    least_squares_discriminator,
    logistic_discriminator,
    relativistic_discriminator,
    wasserstein_discriminator,
)
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.reduction import Parts


class Discriminator(ElementwiseLoss):
    """A loss of the logits that a discriminator gives to real and to fake samples: call it with (real, fake).

    There is one value per pair, so both have the same shape. As a term it takes `real` and `fake` of the call.
    """

    inputs = ("real", "fake")

    @abstractmethod
    def pairs(self, real: Tensor, fake: Tensor) -> Tensor:
        """One value per pair."""

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """One value per pair."""
        check_same_shape("fake", target, "real", input)
        return Parts(self.pairs(input, target))


class LogisticDiscriminator(Discriminator):
    r"""Cross-entropy of telling real from fake, :math:`-\log \sigma(r) - \log(1 - \sigma(f))`.

    Goodfellow et al., "Generative adversarial nets", 2014. For the usual game: its generator is
    `NonSaturatingGenerator` or, as in the theory, `MinimaxGenerator`. Range :math:`[0, \infty)`; reference
    :math:`\log 4`, what even odds score and what the best discriminator scores once the generator is perfect. Near 0
    the generator gets no gradient to learn from: a normalised value that falls to 0 says that the discriminator has
    won.

    Trap: it takes logits: :math:`\log(1 - \sigma(f))` of a probability is :math:`-\infty` in float32 from a logit of 17
    on.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `real` and `fake` differ in shape.

    >>> import torch
    >>> from lightning_losses import LossModule
    >>> criterion = LossModule({"adversarial": LogisticDiscriminator()})
    >>> criterion(real=torch.zeros(4), fake=torch.zeros(4))  # log 4
    tensor(1.3863)
    """

    reference = math.log(4)

    def pairs(self, real: Tensor, fake: Tensor) -> Tensor:
        """Sums of two cross-entropies."""
        return logistic_discriminator(real, fake)


class LeastSquaresDiscriminator(Discriminator):
    r"""Squared distances to 1 for real and 0 for fake samples, :math:`\frac12 (r - 1)^2 + \frac12 f^2`.

    Mao et al., "Least squares generative adversarial networks", 2017, with its factor 1/2. For gradients that do not
    vanish: scores far on the right side cost too. Its generator is `LeastSquaresGenerator`. Range :math:`[0, \infty)`;
    reference 1/4, what the constant score 1/2 costs.

    Trap: many codes leave out the factor 1/2.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `real` and `fake` differ in shape.

    >>> import torch
    >>> LeastSquaresDiscriminator()(torch.tensor([0.5]), torch.tensor([0.5]))
    tensor(0.2500)
    """

    reference = 0.25

    def pairs(self, real: Tensor, fake: Tensor) -> Tensor:
        """Sums of two halved squares."""
        return least_squares_discriminator(real, fake)


class HingeDiscriminator(Discriminator):
    r"""Hinge loss of both sides, :math:`\max(0, 1 - r) + \max(0, 1 + f)`.

    Lim and Ye, "Geometric GAN", 2017. For discriminators with spectral norms, as is usual: what is right by a margin of
    1 costs nothing and gives no gradient. Its generator is `HingeGenerator`. Range :math:`[0, \infty)`; reference 2,
    what any constant score in [-1, 1] costs.

    Trap: its Hessian in the logits is 0: curvature monitors see only the network's part.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `real` and `fake` differ in shape.

    >>> import torch
    >>> HingeDiscriminator()(torch.tensor([0.0, 1.0]), torch.tensor([0.0, -1.0]))
    tensor(1.)
    """

    reference = 2.0

    def pairs(self, real: Tensor, fake: Tensor) -> Tensor:
        """Sums of two hinges."""
        return hinge_discriminator(real, fake)


class WassersteinDiscriminator(Discriminator):
    r"""The loss of a Wasserstein critic, :math:`f - r`.

    Arjovsky et al., "Wasserstein GAN", 2017. For a critic that is kept Lipschitz, by a `GradientPenalty` or by spectral
    norms. Its generator is `WassersteinGenerator`.

    Range :math:`(-\infty, \infty)`, and no reference: nothing is normalised. What can be read is the gap, minus this
    loss: with a 1-Lipschitz critic it estimates the Wasserstein distance of the two distributions from below.

    Trap: a critic that nothing keeps Lipschitz lets the loss fall for ever.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `real` and `fake` differ in shape.

    >>> import torch
    >>> WassersteinDiscriminator()(torch.tensor([2.0]), torch.tensor([-1.0]))
    tensor(-3.)
    """

    lower = -math.inf

    def pairs(self, real: Tensor, fake: Tensor) -> Tensor:
        """Differences of scores."""
        return wasserstein_discriminator(real, fake)


class RelativisticDiscriminator(Discriminator):
    r"""A real sample is to score higher than the fake one it is paired with, :math:`-\log \sigma(r - f)`.

    Jolicoeur-Martineau, "The relativistic discriminator", 2018; with `R1` and `R2` it is the loss of Huang et al., "The
    GAN is dead; long live the GAN!", 2024, whose generator is `RelativisticGenerator`. For training that does not lose
    modes: every fake sample is judged against a real one, so there is a cost to leaving one out. Range
    :math:`[0, \infty)`; reference :math:`\log 2`, what equal scores cost.

    Trap: scores are known up to a constant only.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `real` and `fake` differ in shape.

    >>> import torch
    >>> RelativisticDiscriminator()(torch.ones(4), torch.ones(4))  # log 2
    tensor(0.6931)
    """

    reference = math.log(2)

    def pairs(self, real: Tensor, fake: Tensor) -> Tensor:
        """Cross-entropies of telling which sample of a pair is real."""
        return relativistic_discriminator(real, fake)
