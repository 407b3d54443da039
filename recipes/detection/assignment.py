"""Which object each location of a dense detector shall find, if any."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from .locations import Locations

T = TypeVar("T", int, Tensor)

NOTHING = -1
"""The label of a location that finds nothing, and of a row of boxes that is there to fill up."""


def uncounted(label: T) -> T:
    """The label of an object that is neither learnt nor counted, right or wrong; applied again, its class.

    Those are COCO's crowds and what Pascal VOC calls difficult.

    >>> uncounted(3), uncounted(-5)
    (-5, 3)
    """
    return 2 * NOTHING - label


class Targets(NamedTuple):
    """What each of A locations shall find in each of N images.

    Args:
        label: its class, `NOTHING` for none, [N, A].
        box: (x1, y1, x2, y2), zeros for none, [N, A, 4].
        centerness: see `centerness`, 0 for none, [N, A].
    """

    label: Tensor
    box: Tensor
    centerness: Tensor


def assign(where: Locations, boxes: Tensor, labels: Tensor, radius: float = 1.5) -> Targets:
    r"""The targets of FCOS with centre sampling (Tian et al. 2019, `arXiv:1904.01355 <https://arxiv.org/abs/1904.01355>`_).

    A location finds a box that it lies in, near its centre (at most `radius` strides from it, along x and along y),
    and whose farthest side is as far as its level is for: ``smallest <= max(l, t, r, b) < largest``. Of several it
    finds the one of least area, and of several of those the first.

    Args:
        where: the A locations.
        boxes: true boxes (x1, y1, x2, y2), [N, M, 4].
        labels: their classes, below 0 for rows that fill up or do not count, [N, M].
        radius: in strides; infinity for anywhere in the box.
    """
    if boxes.shape[1] == 0:
        boxes, labels = boxes.new_zeros(len(boxes), 1, 4), labels.new_full((len(labels), 1), NOTHING)
    sides = distances(where.point[:, None], boxes[:, None])  # [N, A, M, 4]
    farthest = sides.amax(-1)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    off_centre = (where.point[:, None] - centre[:, None]).abs().amax(-1)
    found = (
        (sides.amin(-1) > 0)
        & (off_centre <= radius * where.stride[:, None])
        & (farthest >= where.smallest[:, None])
        & (farthest < where.largest[:, None])
        & (labels >= 0)[:, None]
    )
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    least, chosen = area[:, None].expand_as(farthest).masked_fill(~found, float("inf")).min(-1)
    nothing = least.isinf()
    box = boxes.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 4)).masked_fill(nothing.unsqueeze(-1), 0)
    label = labels.gather(1, chosen).masked_fill(nothing, NOTHING)
    return Targets(label, box, centerness(distances(where.point, box)).masked_fill(nothing, 0))


def distances(point: Tensor, box: Tensor) -> Tensor:
    """From points [*, 2] to the (left, top, right, bottom) sides of boxes [*, 4]; negative outside of them."""
    return torch.cat([point - box[..., :2], box[..., 2:] - point], -1)


def centerness(sides: Tensor) -> Tensor:
    r""":math:`\sqrt{\frac{\min(l, r)}{\max(l, r)} \cdot \frac{\min(t, b)}{\max(t, b)}}` of distances [*, 4].

    1 in the centre of a box, 0 on its sides.

    >>> centerness(torch.tensor([1.0, 2.0, 4.0, 2.0]))
    tensor(0.5000)
    """
    near, far = sides[..., :2], sides[..., 2:]
    ratios = torch.minimum(near, far).clamp(min=0) / torch.maximum(near, far).clamp(min=torch.finfo(sides.dtype).tiny)
    return ratios.prod(-1).sqrt()
