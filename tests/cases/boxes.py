"""Boxes."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from cases.case import Array, Case, Pair
from lightning_losses.losses import CIoU, DIoU, GIoU, IoU, Loss

Box = tuple[float, float, float, float]


def boxed(generator: torch.Generator, size: int, gap: float = 10.0, sides: float = 10.0, width: float = 1.0) -> Pair:
    """Boxes whose near corners lie within `gap`; true ones are as much narrower as `width` says."""
    near = gap * torch.rand(2, size, 2, generator=generator, dtype=torch.float64)
    far = near + sides * (0.1 + torch.rand(2, size, 2, generator=generator, dtype=torch.float64))
    input, target = torch.cat([near, far], -1)
    target[:, 2] = target[:, 0] + width * (target[:, 2] - target[:, 0])
    return input, target


def centred(generator: torch.Generator, size: int, **options: float) -> Pair:
    """The same as (cx, cy, w, h)."""
    return tuple(as_centred(boxes) for boxes in boxed(generator, size, **options))


def as_centred(boxes: Tensor) -> Tensor:
    near, far = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(near + far) / 2, far - near], -1)


def extreme_boxes(generator: torch.Generator, magnitude: float) -> Pair:
    """Points, lines and squares, equal and not, and inverted predictions, all as large as `magnitude`."""
    m = magnitude
    target = [[0, 0, 0, 0], [m, m, m, m], [0, 0, m, 0], [0, 0, m, m], [-m, -m, m, m]]
    input = [*target, [m, 0, m, m], [m, m, 0, 0], [m, m, -m, 0]]
    pairs = [(i, t) for i in input for t in target]
    boxes = torch.tensor(pairs, dtype=torch.float64)
    return boxes[:, 0], boxes[:, 1]


def area(box: Box) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def overlap(a: Box, b: Box) -> tuple[float, float]:
    both = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return both, area(a) + area(b) - both


def iou(a: Box, b: Box) -> float:
    both, union = overlap(a, b)
    return 1 - both / union


def giou(a: Box, b: Box) -> float:
    both, union = overlap(a, b)
    hull = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    return 1 - (both / union - (hull - union) / hull)


def diou(a: Box, b: Box) -> float:
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (a, b)]
    diagonal = math.dist((min(a[0], b[0]), min(a[1], b[1])), (max(a[2], b[2]), max(a[3], b[3])))
    return iou(a, b) + (math.dist(*centres) / diagonal) ** 2


def ciou(a: Box, b: Box) -> float:
    angles = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (a, b)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return diou(a, b) + v * v / (iou(a, b) + v)


def mean(formula: Callable[[Box, Box], float], x: Array, y: Array, w: Array, format: str = "xyxy") -> float:
    def corners(box: Array) -> Box:
        if format == "xyxy":
            return tuple(box)
        cx, cy, width, height = box
        return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2

    values = [weight * formula(corners(a), corners(b)) for a, b, weight in zip(x, y, w, strict=True)]
    return sum(values) / w.sum()


def box_case(
    loss: Callable[..., Loss], formula: Callable[[Box, Box], float], far: float, inputs=boxed, **options
) -> Case:
    return Case(
        "-".join([loss.__name__, *options.values()]),
        partial(loss, **options),
        inputs,
        partial(mean, formula, **options),
        lambda y, w: far,
        ragged=True,
        extreme=extreme_boxes,
    )


CASES = [
    box_case(IoU, iou, 1.0, partial(boxed, gap=2.0)),
    box_case(GIoU, giou, 2.0),
    box_case(GIoU, giou, 2.0, centred, format="cxcywh"),
    box_case(DIoU, diou, 2.0, partial(boxed, gap=1.0, sides=2.0)),
    box_case(CIoU, ciou, 2.0, partial(boxed, gap=1.0, sides=7.0, width=0.12)),
]
