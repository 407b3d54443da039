"""Against the logit that every pixel gives to its true class."""

import torch
from torch import Tensor

from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import (
    Boundary,
    Dice,
    DiceCE,
    FocalTversky,
    GeneralizedDice,
    Loss,
    LovaszHinge,
    LovaszSoftmax,
    Tversky,
)

PIXELS = 100
X = "logit of the true class at every pixel"
BOTH = "Two classes. All pixels are alike; the object covers half of the image or a twentieth."
SMALL = "All pixels are alike; the object covers a twentieth of the image."
RARE = 5


def mask(size: int) -> Tensor:
    """Labels [1, P] with an object of that size."""
    return (torch.arange(PIXELS) < size).long().unsqueeze(0)


def everywhere(loss: Loss, size: int) -> Curve:
    """Every pixel gives its true class the same logit."""
    labels = mask(size)
    truth = torch.nn.functional.one_hot(labels).movedim(-1, 1)
    return along(loss, lambda x: (x * truth, labels))


def both(loss: Loss) -> Plot:
    """The figure of a large and of a small object."""
    return Plot(X, (-6, 6), {"half": everywhere(loss, PIXELS // 2), "a twentieth": everywhere(loss, RARE)}, BOTH)


def variants(losses: dict[str, Loss]) -> Plot:
    """The figure of a small object alone."""
    curves = {label: everywhere(loss, RARE) for label, loss in losses.items()}
    return Plot(X, (-6, 6), curves, f"Two classes. {SMALL}")


def hinge() -> Curve:
    """Every pixel has the same logit, with the sign of the truth."""
    labels = mask(RARE)
    return along(LovaszHinge(), lambda x: (x * (2 * labels - 1), labels))


def distances() -> Curve:
    """A row of pixels, half of which are the object's."""
    steps = torch.arange(PIXELS, dtype=torch.float64) - PIXELS / 2 + 0.5
    phi = torch.stack([-steps, steps]).unsqueeze(0) / (PIXELS / 2)
    truth = (phi < 0).double()
    return along(Boundary(), lambda x: (x * truth, phi))


SEGMENTATION = {
    "Dice": both(Dice()),
    "DiceCE": both(DiceCE()),
    "GeneralizedDice": both(GeneralizedDice()),
    "Tversky": variants(
        {
            f"alpha = {alpha:g}, beta = {beta:g}": Tversky(alpha=alpha, beta=beta)
            for alpha, beta in ((0.3, 0.7), (0.5, 0.5), (0.7, 0.3))
        }
    ),
    "FocalTversky": variants(
        {f"gamma = {label}": FocalTversky(gamma=gamma) for label, gamma in (("1", 1.0), ("4/3", 4 / 3), ("3", 3.0))}
    ),
    "LovaszSoftmax": variants({"": LovaszSoftmax()}),
    "LovaszHinge": Plot("logit of every pixel, with the sign of the truth", (-3, 3), {"": hinge()}, SMALL),
    "Boundary": Plot(
        X, (-6, 6), {"": distances()}, "A row of pixels, half of them the object's; distances in units of that half."
    ),
}
