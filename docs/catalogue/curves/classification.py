"""Against the logit of the truth."""

import torch
from torch import Tensor

from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import (
    CORAL,
    CORN,
    MART,
    TRADES,
    Asymmetric,
    BCEWithLogits,
    CostSensitive,
    CrossEntropy,
    Hinge,
    Loss,
    MultiMargin,
    SigmoidFocal,
    SoftmaxFocal,
    SquaredHinge,
    Varifocal,
)

CLASSES = 10
GAMMAS = (0.0, 2.0, 5.0)
TRUTH = "logit of the true class, the others being 0"
NOTE = f"{CLASSES} classes."


def one_logit(x: Tensor, classes: int = CLASSES) -> Tensor:
    """Logits [1, C] of which all but the first are 0."""
    return torch.cat([x.reshape(1), torch.zeros(classes - 1, dtype=x.dtype)]).unsqueeze(0)


def multiclass(loss: Loss) -> Curve:
    """The loss of a true class with this logit."""
    return along(loss, lambda x: (one_logit(x), torch.tensor([0])))


def binary(loss: Loss, truth: float = 1.0) -> Curve:
    """The loss of a logit where this is true."""
    return along(loss, lambda x: (x.reshape(1), torch.tensor([truth], dtype=torch.float64)))


def costs(truth: int) -> Curve:
    """A missed positive that is five times as dear as a false alarm."""
    loss = CostSensitive(false_negative_ratio=5.0)
    return along(loss, lambda x: (one_logit(x, 2).flip(1), torch.tensor([truth])))


def grades(loss: Loss, truth: int) -> Curve:
    """Five grades, whose thresholds a latent score passes one after the other."""
    thresholds = torch.tensor([[-3.0, -1.0, 1.0, 3.0]], dtype=torch.float64)
    return along(loss, lambda x: (x - thresholds, torch.tensor([truth])))


def attacked(loss: Loss) -> Curve:
    """A clean input that is read rightly, and this logit after an attack."""
    clean = one_logit(torch.tensor(4.0, dtype=torch.float64))
    return along(loss, lambda x: (clean, one_logit(x), torch.tensor([0])))


def ordinal(loss: Loss) -> Plot:
    """The figure of an ordinal loss."""
    curves = {f"truth {truth}": grades(loss, truth) for truth in (0, 2, 4)}
    return Plot("latent score", (-6, 6), curves, "Five grades, with logits of the score minus -3, -1, 1 and 3.")


CLASSIFICATION = {
    "CrossEntropy": Plot(
        TRUTH,
        (-6, 12),
        {f"label_smoothing = {share:g}": multiclass(CrossEntropy(label_smoothing=share)) for share in (0.0, 0.1)},
        NOTE,
    ),
    "BCEWithLogits": Plot(
        "logit, of a positive",
        (-5, 5),
        {f"pos_weight = {weight:g}": binary(BCEWithLogits(pos_weight=weight)) for weight in (1.0, 3.0)},
    ),
    "SoftmaxFocal": Plot(
        TRUTH, (-4, 8), {f"gamma = {gamma:g}": multiclass(SoftmaxFocal(gamma=gamma)) for gamma in GAMMAS}, NOTE
    ),
    "SigmoidFocal": Plot(
        "logit, of a positive",
        (-5, 5),
        {f"gamma = {gamma:g}": binary(SigmoidFocal(alpha=None, gamma=gamma)) for gamma in GAMMAS},
        "Without alpha.",
    ),
    "Varifocal": Plot(
        "logit",
        (-5, 5),
        {f"quality = {quality:g}": binary(Varifocal(), truth=quality) for quality in (0.0, 0.5, 0.9)},
    ),
    "Asymmetric": Plot(
        "logit", (-5, 5), {"positive": binary(Asymmetric()), "negative": binary(Asymmetric(), truth=0.0)}
    ),
    "Hinge": Plot("logit, of a positive", (-3, 3), {"": binary(Hinge())}),
    "SquaredHinge": Plot("logit, of a positive", (-3, 3), {"": binary(SquaredHinge())}),
    "MultiMargin": Plot(
        TRUTH, (-3, 3), {f"power = {power}": multiclass(MultiMargin(power=power)) for power in (1, 2)}, NOTE
    ),
    "CostSensitive": Plot(
        "logit of positive minus that of negative",
        (-6, 6),
        {"positive": costs(1), "negative": costs(0)},
        "A missed positive is five times as dear as a false alarm.",
    ),
    "CORAL": ordinal(CORAL(classes=5)),
    "CORN": ordinal(CORN(classes=5)),
    "TRADES": Plot(
        "logit of the true class under attack",
        (-4, 8),
        {f"beta = {beta:g}": attacked(TRADES(beta=beta)) for beta in (1.0, 6.0)},
        f"{NOTE} The clean logit of the true class is 4, all others are 0.",
    ),
    "MART": Plot(
        "logit of the true class under attack",
        (-4, 8),
        {f"beta = {beta:g}": attacked(MART(beta=beta)) for beta in (1.0, 5.0)},
        f"{NOTE} The clean logit of the true class is 4, all others are 0.",
    ),
}
