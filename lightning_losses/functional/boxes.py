"""Boxes: how far two rectangles are from covering each other."""

import torch
from torch import Tensor


def giou_loss(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`1 - \mathrm{GIoU} = 2 - \dfrac{I}{U} - \dfrac{U}{C}`, twice differentiable.

    :math:`I` and :math:`U` are the areas of intersection and union, :math:`C` that of the smallest box around both.

    Args:
        input: predicted boxes [*, 4] as (x1, y1, x2, y2). An inverted one has no area, as if its sides were 0.
        target: true boxes, the same shape.

    Returns:
        Values [*] in [0, 2]: 0 for equal boxes, 1 for one that just touches another of its size, 2 in the limit of
        boxes far apart. Where neither box has an area there is no ratio to take: 0 for equal boxes, 2 for others, with
        a zero gradient.

    >>> import torch
    >>> unit = torch.tensor([0.0, 0.0, 1.0, 1.0])
    >>> giou_loss(torch.stack([unit, unit + 1]), torch.stack([unit, unit]))
    tensor([0.0000, 1.5000])
    """
    near, far = input[..., :2], input[..., 2:]
    near_target, far_target = target[..., :2], target[..., 2:]
    intersection = _area(torch.minimum(far, far_target) - torch.maximum(near, near_target))
    union = _area(far - near) + _area(far_target - near_target) - intersection
    hull = _area(torch.maximum(far, far_target) - torch.minimum(near, near_target))
    empty = union <= torch.finfo(union.dtype).tiny ** 0.5  # below, the second derivative overflows
    values = 2 - intersection / union.masked_fill(empty, 1) - union / hull.masked_fill(empty, 1)
    return torch.where(empty, 2 * (input != target).any(-1).to(values.dtype), values)


def _area(size: Tensor) -> Tensor:
    width, height = size.clamp(min=0).unbind(-1)
    return width * height
