"""Against the residual."""

import math

import torch

from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import (
    MAE,
    MSE,
    AdaptiveWing,
    BerHu,
    GaussianNLL,
    Huber,
    LogCosh,
    Loss,
    Quantile,
    QuantileCrossing,
    SmoothL1,
    Wing,
)

NORMAL = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(200, dtype=torch.float64) + 0.5) / 200)
NONE = torch.zeros(1, dtype=torch.float64)


def residual(loss: Loss, scale: float = 1.0) -> Curve:
    """The loss of a residual; the bounds are those of normal targets with this standard deviation."""
    return along(loss, lambda x: (x.reshape(1), NONE), (NORMAL, scale * NORMAL))


def residuals(losses: dict[str, Loss], span: float = 3.0, scale: float = 1.0) -> Plot:
    """The figure of a loss of the residual."""
    curves = {label: residual(loss, scale) for label, loss in losses.items()}
    return Plot("residual", (-span, span), curves, f"Targets are normal, with a standard deviation of {scale:g}.")


def heatmap(truth: float) -> Curve:
    """Adaptive wing loss where the heatmap has this value."""
    target = torch.full((1,), truth, dtype=torch.float64)
    empty = torch.zeros(99, dtype=torch.float64)
    targets = torch.cat([empty, target])
    return along(AdaptiveWing(), lambda x: (target + x, target), (targets, targets))


def predicted(deviation: float) -> Curve:
    """Gaussian negative log-likelihood under a predicted deviation."""
    loss = GaussianNLL()
    s = torch.tensor(math.log(math.expm1(deviation - loss.min_std)), dtype=torch.float64)
    batch = torch.zeros(200, 2, dtype=torch.float64), NORMAL
    return along(loss, lambda x: (torch.stack([x, s]).unsqueeze(0), NONE), batch)


def swapped(loss: Loss) -> Curve:
    """The loss of two quantiles, the lower of which is greater by x."""
    return along(loss, lambda x: (torch.stack([x, torch.zeros_like(x)]).unsqueeze(0),))


REGRESSION = {
    "MSE": residuals({"": MSE()}),
    "MAE": residuals({"": MAE()}),
    "Huber": residuals({f"delta = {delta:g}": Huber(delta=delta) for delta in (0.5, 1.0, 2.0)}),
    "SmoothL1": residuals({f"beta = {beta:g}": SmoothL1(beta=beta) for beta in (0.5, 1.0, 2.0)}),
    "LogCosh": residuals({"": LogCosh()}),
    "BerHu": residuals({f"threshold = {c:g}": BerHu(threshold=c) for c in (0.5, 1.0, 2.0)}),
    "Quantile": residuals({f"quantiles = {tau:g}": Quantile(quantiles=tau) for tau in (0.1, 0.5, 0.9)}),
    "QuantileCrossing": Plot("lower quantile minus upper quantile", (-2, 2), {"": swapped(QuantileCrossing())}),
    "GaussianNLL": Plot(
        "residual",
        (-3, 3),
        {f"deviation = {deviation:g}": predicted(deviation) for deviation in (0.5, 1.0, 2.0)},
        "Targets are normal, with a standard deviation of 1.",
    ),
    "Wing": residuals(
        {f"width = {w:g}, epsilon = {e:g}": Wing(width=w, epsilon=e) for w, e in ((10.0, 2.0), (5.0, 0.5))}, 20.0, 10.0
    ),
    "AdaptiveWing": Plot(
        "residual",
        (-1, 1),
        {f"truth {truth:g}": heatmap(truth) for truth in (0.0, 0.5, 1.0)},
        "One pixel of a hundred has that truth, the others are empty.",
    ),
}
