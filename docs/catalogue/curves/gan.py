"""Against the score of a sample."""

import torch
from torch import Tensor

from catalogue.curves.classification import CLASSES, one_logit
from catalogue.curves.penalties import alone
from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import (
    R1,
    R2,
    GradientPenalty,
    HingeDiscriminator,
    HingeGenerator,
    LeastSquaresDiscriminator,
    LeastSquaresGenerator,
    LogisticDiscriminator,
    Loss,
    MinimaxGenerator,
    MutualInformation,
    NonSaturatingGenerator,
    RelativisticDiscriminator,
    RelativisticGenerator,
    WassersteinDiscriminator,
    WassersteinGenerator,
)

DISCRIMINATORS = (
    LogisticDiscriminator(),
    LeastSquaresDiscriminator(),
    HingeDiscriminator(),
    WassersteinDiscriminator(),
    RelativisticDiscriminator(),
)
GENERATORS = (
    NonSaturatingGenerator(),
    MinimaxGenerator(),
    LeastSquaresGenerator(),
    HingeGenerator(),
    WassersteinGenerator(),
)


def steepness(loss: Loss) -> Curve:
    """A discriminator whose gradient has this norm."""

    def arguments(x: Tensor) -> tuple[Tensor, Tensor]:
        samples = torch.zeros(1, 1, dtype=x.dtype, requires_grad=True)
        return x * samples.sum(1), samples

    return along(loss, arguments)


def sides(loss: Loss) -> Plot:
    """The figure of a discriminator's loss, of the score of one side while the other's stays where it is."""
    zero = torch.zeros(1, dtype=torch.float64)
    real = along(loss, lambda x: (x.reshape(1), zero))
    fake = along(loss, lambda x: (zero, x.reshape(1)))
    return Plot("score", (-4, 4), {"of the real sample": real, "of the fake sample": fake}, "The other score is 0.")


GAN = {
    **{type(loss).__name__: sides(loss) for loss in DISCRIMINATORS},
    **{type(loss).__name__: Plot("score of the fake sample", (-4, 4), {"": alone(loss)}) for loss in GENERATORS},
    "RelativisticGenerator": Plot(
        "score of the fake sample minus the real one's",
        (-4, 4),
        {"": along(RelativisticGenerator(), lambda x: (x.reshape(1), torch.zeros(1, dtype=x.dtype)))},
    ),
    "GradientPenalty": Plot("norm of the gradient", (0.01, 3), {"": steepness(GradientPenalty())}),
    "R1": Plot("norm of the gradient", (0, 3), {"": steepness(R1())}),
    "R2": Plot("norm of the gradient", (0, 3), {"": steepness(R2())}),
    "MutualInformation": Plot(
        "logit of the right code, the others being 0",
        (-6, 12),
        {"": along(MutualInformation(), lambda x: (one_logit(x), torch.tensor([0])))},
        f"{CLASSES} codes.",
    ),
}
