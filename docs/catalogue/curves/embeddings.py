"""Against an angle between embeddings."""

import math

import torch
from torch import Tensor

from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import ArcFace, Contrastive, CurricularFace, InfoNCE, Loss, Triplet

ANGLE = "angle, in radians"
HALF_TURN = (0.02, math.pi - 0.02)
VIEWS, CLASSES = 8, 10


def direction(angle: Tensor) -> Tensor:
    """A unit vector [2]."""
    return torch.stack([angle.cos(), angle.sin()])


def pair(label: int) -> Curve:
    """Two embeddings, of label 0 and of this one."""
    still = torch.zeros((), dtype=torch.float64)
    target = torch.tensor([0, label])
    return along(Contrastive(), lambda x: (torch.stack([direction(still), direction(x)]), target))


def triplet(margin: float) -> Curve:
    """A pair with an angle of 0.5 between them, and a negative at this angle from one and farther from the other."""
    pairs = direction(torch.tensor(-0.5).double()), direction(torch.tensor(0.0).double())
    target = torch.tensor([0, 0, 1])
    return along(Triplet(margin=margin), lambda x: (torch.stack([*pairs, direction(x)]), target))


def views(temperature: float) -> Curve:
    """Two views each of some images at right angles, with this angle between the two."""
    first = torch.eye(VIEWS, 2 * VIEWS, dtype=torch.float64)
    second = first.roll(VIEWS, 1)
    target = torch.arange(VIEWS).repeat(2)
    loss = InfoNCE(temperature=temperature)
    return along(loss, lambda x: (torch.cat([first, x.cos() * first + x.sin() * second]), target))


def prototypes(loss: Loss) -> Curve:
    """This angle to the true prototype, a cosine of 0.5 with another, right angles to the rest."""
    others = torch.tensor([0.5, *[0.0] * (CLASSES - 2)], dtype=torch.float64)
    return along(loss.eval(), lambda x: (torch.cat([x.cos().reshape(1), others]).unsqueeze(0), torch.tensor([0])))


def curricular(t: float) -> CurricularFace:
    """A loss whose training has come to this mean cosine."""
    loss = CurricularFace(scale=16.0)
    loss.t.fill_(t)
    return loss


EMBEDDINGS = {
    "Contrastive": Plot(ANGLE, HALF_TURN, {"equal labels": pair(0), "different labels": pair(1)}, "One pair."),
    "Triplet": Plot(
        f"{ANGLE}, of the negative",
        HALF_TURN,
        {f"margin = {margin:g}": triplet(margin) for margin in (0.2, 0.5, 1.0)},
        "The angle of the positive pair is 0.5.",
    ),
    "InfoNCE": Plot(
        f"{ANGLE}, between two views",
        HALF_TURN,
        {f"temperature = {temperature:g}": views(temperature) for temperature in (0.1, 0.5, 1.0)},
        f"{VIEWS} images at right angles.",
    ),
    "ArcFace": Plot(
        f"{ANGLE}, to the prototype",
        HALF_TURN,
        {f"margin = {margin:g}": prototypes(ArcFace(scale=16.0, margin=margin)) for margin in (0.0, 0.3, 0.5)},
        f"{CLASSES} classes, a scale of 16; one other prototype at a cosine of 0.5, the rest at right angles.",
    ),
    "CurricularFace": Plot(
        f"{ANGLE}, to the prototype",
        HALF_TURN,
        {f"t = {t:g}": prototypes(curricular(t)) for t in (0.0, 0.5, 0.9)},
        f"{CLASSES} classes, a scale of 16; one other prototype at a cosine of 0.5, the rest at right angles.",
    ),
}
