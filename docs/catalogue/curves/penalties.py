"""Against a weight."""

import torch

from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import EWC, L1, L2, ElasticNet, Rounding, RoundingDecision, UnaryLoss


def weight(loss: UnaryLoss) -> Curve:
    """The part of one weight in the penalty of a model."""
    return Curve(loss, lambda x: loss.of(x).values)


def anchored(importance: float) -> Curve:
    """The part of one weight, whose anchor is 0."""
    anchor, fisher = torch.zeros(()), torch.tensor(importance)
    return Curve(EWC(), lambda x: EWC().parts(x, anchor, fisher, None).values)


def alone(loss: UnaryLoss) -> Curve:
    """The loss of one number."""
    return along(loss, lambda x: (x.reshape(1),))


PENALTIES = {
    "L1": Plot("weight", (-2, 2), {"": weight(L1())}),
    "L2": Plot("weight", (-2, 2), {"": weight(L2())}),
    "ElasticNet": Plot(
        "weight", (-2, 2), {f"l1_ratio = {ratio:g}": weight(ElasticNet(l1_ratio=ratio)) for ratio in (0.0, 0.5, 1.0)}
    ),
    "EWC": Plot(
        "distance of a weight from its anchor",
        (-2, 2),
        {f"importance = {fisher:g}": anchored(fisher) for fisher in (0.0, 1.0, 4.0)},
    ),
    "Rounding": Plot(
        "weight, in steps of the grid",
        (-1.5, 1.5),
        {shape: alone(Rounding(shape=shape)) for shape in ("absolute", "square", "sine")},
    ),
    "RoundingDecision": Plot(
        "h", (0, 1), {f"beta = {beta:g}": alone(RoundingDecision(beta=beta)) for beta in (2.0, 4.0, 20.0)}
    ),
}
