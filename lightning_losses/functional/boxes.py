"""Boxes: how far two rectangles are from covering each other.

A box [*, 4] is (x1, y1, x2, y2). An inverted one has no area, as if its sides were 0. Where a ratio has no denominator,
the value is a constant and the gradient 0.
"""

import math

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Boxes [*, 4] given by (centre x, centre y, width, height), as (x1, y1, x2, y2).

    >>> import torch
    >>> cxcywh_to_xyxy(torch.tensor([2.0, 2.0, 2.0, 4.0]))
    tensor([1., 0., 3., 4.])
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def iou_loss(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`1 - \mathrm{IoU} = 1 - \dfrac{I}{U}`, from the areas of intersection and union.

    Args:
        input: predicted boxes [*, 4].
        target: true boxes, the same shape.

    Returns:
        Values [*] in [0, 1], 1 for boxes that do not meet. If neither box has an area: 0 for equal boxes, 1 for others.

    >>> import torch
    >>> unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    >>> iou_loss(unit * 2, unit)
    tensor(0.7500)
    """
    intersection, union = _overlap(input, target)
    empty = _vanishing(union)
    return torch.where(empty, _different(input, target), 1 - intersection / union.masked_fill(empty, 1))


def giou_loss(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`1 - \mathrm{GIoU} = 2 - \dfrac{I}{U} - \dfrac{U}{C}`, with the area of the smallest box around both.

    Args:
        input: predicted boxes [*, 4].
        target: true boxes, the same shape.

    Returns:
        Values [*] in [0, 2]: 0 for equal boxes, 1 for one that just touches another of its size, 2 in the limit of
        boxes far apart. If neither box has an area: 0 for equal boxes, 2 for others.

    >>> import torch
    >>> unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    >>> giou_loss(torch.stack([unit, unit + 1]), torch.stack([unit, unit]))
    tensor([0.0000, 1.5000])
    """
    intersection, union = _overlap(input, target)
    hull = _area(torch.maximum(input[..., 2:], target[..., 2:]) - torch.minimum(input[..., :2], target[..., :2]))
    empty = _vanishing(union)
    values = 2 - intersection / union.masked_fill(empty, 1) - union / hull.masked_fill(empty, 1)
    return torch.where(empty, 2 * _different(input, target), values)


def diou_loss(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`1 - \mathrm{IoU} + \dfrac{\rho^2}{c^2}`: distance of centres over the diagonal of the box around both.

    Args:
        input: predicted boxes [*, 4].
        target: true boxes, the same shape.

    Returns:
        Values [*] in [0, 2]: 0 for equal boxes, 2 in the limit of boxes far apart.

    >>> import torch
    >>> unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    >>> diou_loss(unit + 1, unit)  # 1 + 2 / 8
    tensor(1.2500)
    """
    return iou_loss(input, target) + _centre_distance(input, target)


def ciou_loss(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`u + \dfrac{\rho^2}{c^2} + \dfrac{v^2}{u + v}`: DIoU, and the difference :math:`v` of the aspect ratios.

    :math:`u = 1 - \mathrm{IoU},\; v = \frac{4}{\pi^2} (\arctan\frac{w}{h} - \arctan\frac{w'}{h'})^2 \in [0, 1]`.

    Args:
        input: predicted boxes [*, 4].
        target: true boxes, the same shape.

    Returns:
        Values [*] in [0, 2.5]. A point has no aspect ratio: its :math:`v` is 0.

    >>> import torch
    >>> ciou_loss(torch.tensor([0.0, 0.0, 2.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    tensor(0.5532)
    """
    apart, aspect = iou_loss(input, target), _aspect_difference(input, target)
    both = apart + aspect
    equal = both <= torch.finfo(both.dtype).eps  # below, nothing but rounding is left of 1 - IoU
    trade_off = (aspect / both.masked_fill(equal, 1)).masked_fill(equal, 0.0)
    return apart + _centre_distance(input, target) + trade_off * aspect


def _overlap(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The areas of intersection and union."""
    near, far = input[..., :2], input[..., 2:]
    near_target, far_target = target[..., :2], target[..., 2:]
    intersection = _area(torch.minimum(far, far_target) - torch.maximum(near, near_target))
    return intersection, _area(far - near) + _area(far_target - near_target) - intersection


def _centre_distance(input: Tensor, target: Tensor) -> Tensor:
    """Squared, over the squared diagonal of the smallest box around all corners; at most 1."""
    near, far, near_target, far_target = input[..., :2], input[..., 2:], target[..., :2], target[..., 2:]
    corners = torch.stack([near, far, near_target, far_target])
    diagonal = (corners.amax(0) - corners.amin(0)).square().sum(-1)
    apart = (near + far - near_target - far_target) / 2
    empty = _vanishing(diagonal)
    return (apart.square().sum(-1) / diagonal.masked_fill(empty, 1)).masked_fill(empty, 0.0)


def _aspect_difference(input: Tensor, target: Tensor) -> Tensor:
    """Of the angles between diagonal and height, squared, as a share of the greatest there is."""
    angle, is_point = _diagonal_angle(input)
    angle_target, is_point_target = _diagonal_angle(target)
    difference = (angle - angle_target) * (2 / math.pi)
    return difference.square().masked_fill(is_point | is_point_target, 0.0)


def _diagonal_angle(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The angle, and whether the box is a point, which has none."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    is_point = _vanishing(size.square().sum(-1))
    width, height = size.masked_fill(is_point.unsqueeze(-1), 1.0).unbind(-1)
    return torch.atan2(width, height), is_point


def _area(size: Tensor) -> Tensor:
    width, height = size.clamp(min=0).unbind(-1)
    return width * height


def _vanishing(square: Tensor) -> Tensor:
    """Whether an area or squared length is too small to divide by: the second derivative would overflow."""
    least: float = torch.finfo(square.dtype).tiny ** 0.5
    return square <= least


def _different(input: Tensor, target: Tensor) -> Tensor:
    return (input != target).any(-1).to(input.dtype)
