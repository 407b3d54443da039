"""Metric learning by angular margins."""

import math
from functools import partial

import torch
from torch import Tensor

from cases.case import Array, Case, Pair
from cases.labels import CLASSES, IGNORED, labelled
from lightning_losses.losses import ArcFace, CurricularFace, Loss


def cosines(generator: torch.Generator, size: int, ignore: float = 0.0) -> Pair:
    """Cosines and class labels, a share of them ignored."""
    input, target = labelled(generator, size, shape=(), ignore=ignore)
    return input.tanh(), target


def clamped(input: Tensor) -> Tensor:
    return input.clamp(-1, 1)


def true_cosine(cosine: float, margin: float) -> float:
    angle = math.acos(cosine) + margin
    return math.cos(angle) if angle < math.pi else cosine - (1 - math.cos(margin))


def angular(x: Array, y: Array, w: Array, scale: float, margin: float, curricular: bool = False) -> float:
    total = count = 0.0
    for row, label, weight in zip(x, y, w, strict=True):
        if label == IGNORED:
            continue
        true = true_cosine(row[label], margin)
        others = [cosine for j, cosine in enumerate(row) if j != label]
        if curricular:  # at the beginning, with t = 0
            others = [cosine * cosine if cosine > true else cosine for cosine in others]
        powers = [math.exp(scale * cosine) for cosine in others]
        total -= weight * math.log(math.exp(scale * true) / (math.exp(scale * true) + sum(powers)))
        count += weight
    return total / count


def in_evaluation(loss: type[Loss], **options) -> Loss:
    return loss(**options).eval()


def angular_case(loss: type[Loss], scale: float, margin: float, ignore: float = 0.0) -> Case:
    options = {"scale": scale, "margin": margin, "ignore_index": IGNORED if ignore else None}
    return Case(
        f"{loss.__name__}-scale{scale:g}{'-ignored' if ignore else ''}",
        partial(in_evaluation, loss, **options),
        partial(cosines, ignore=ignore),
        partial(angular, scale=scale, margin=margin, curricular=loss is CurricularFace),
        lambda y, w: math.log(1 + (CLASSES - 1) * math.exp(scale * math.sin(margin))),
        lambda y, w: math.log(1 + (CLASSES - 1) * math.exp(-scale * (1 + math.cos(margin)))),
        inside=clamped,
    )


CASES = [
    angular_case(loss, scale, margin, ignore)
    for loss in (ArcFace, CurricularFace)
    for scale, margin, ignore in ((64.0, 0.5, 0.0), (4.0, 1.2, 0.3))
]
