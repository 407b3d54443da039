"""Losses of boxes."""

from abc import abstractmethod

import torch
from torch import Tensor

from lightning_losses.checks import check_choice, check_same_shape, is_readable, message
from lightning_losses.functional.boxes import ciou_loss, cxcywh_to_xyxy, diou_loss, giou_loss, iou_loss
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.reduction import Parts

RULES = {
    "xyxy": "boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2",
    "cxcywh": "boxes (cx, cy, w, h) with w >= 0 and h >= 0",
}


class BoxLoss(ElementwiseLoss):
    """A loss of predicted and true boxes [*, 4]; its arguments are explained at `IoU`."""

    def __init__(self, *, format: str = "xyxy", reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.format = check_choice("format", format, RULES)

    @abstractmethod
    def of_corners(self, input: Tensor, target: Tensor) -> Tensor:
        """One value per box, from boxes (x1, y1, x2, y2)."""

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """One value per box."""
        check_same_shape("input", input, "target", target)
        if input.shape[-1:] != (4,):
            raise ValueError(message("input", "of shape [*, 4]", tuple(input.shape)))
        self._check_sides(target)
        if self.format == "cxcywh":
            input, target = cxcywh_to_xyxy(input), cxcywh_to_xyxy(target)
        values = self.of_corners(input, target)
        return Parts(values, torch.ones_like(values))

    def element_axis(self, target: Tensor) -> int:
        """A box is four numbers."""
        return -1

    def _check_sides(self, target: Tensor) -> None:
        if not is_readable(target):
            return
        least = target[..., :2] if self.format == "xyxy" else torch.zeros_like(target[..., :2])
        valid = target.isfinite().all(-1) & (target[..., 2:] >= least).all(-1)
        if not valid.all():
            raise ValueError(message("target", RULES[self.format], target[~valid][0].tolist()))


class IoU(BoxLoss):
    r"""IoU loss of boxes, :math:`1 - \frac{I}{U}`, with the areas :math:`I` and :math:`U` of intersection and union.

    For boxes [*, 4], in any unit, that meet already. Yu et al., "UnitBox", 2016, there as :math:`-\log \mathrm{IoU}`.

    Range [0, 1]; reference 1, a box far off. Two boxes without any area score 0 if they are equal and 1 if not, with a
    zero gradient; an inverted prediction counts as a box without area.

    Trap: there is no gradient between boxes that do not meet; `GIoU`, `DIoU` and `CIoU` have one.

    The number of boxes differs from rank to rank, so the mean always asks for their global number.

    Args:
        format: of both boxes, ``"xyxy"`` (x1, y1, x2, y2) or ``"cxcywh"`` (centre x, centre y, width, height).
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [*]).

    Raises:
        ValueError: shapes that differ or do not end in 4, or a true box that is inverted or not finite.

    >>> import torch
    >>> IoU()(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 1.0]]))
    tensor(0.5000)
    """

    upper = 1.0
    reference = 1.0

    def of_corners(self, input: Tensor, target: Tensor) -> Tensor:
        """One value per box."""
        return iou_loss(input, target)


class GIoU(BoxLoss):
    r"""Generalised IoU loss of boxes, :math:`1 - \frac{I}{U} + \frac{C - U}{C}`.

    :math:`I` and :math:`U` are the areas of intersection and union, :math:`C` that of the smallest box around both. For
    boxes [*, 4] that may not meet: unlike that of 1 - IoU, the gradient does not vanish there. Rezatofighi et al.,
    "Generalized intersection over union", 2019.

    Range :math:`[0, 2)`; reference 2, a box far off. Two boxes without any area score 0 if they are equal and 2 if not,
    with a zero gradient; an inverted prediction counts as a box without area.

    Trap: a box that does not meet the true one is first grown towards it and then moved; within the true one, or around
    it, the loss is that of `IoU`.

    The number of boxes differs from rank to rank, so the mean always asks for their global number.

    Args:
        format: of both boxes, ``"xyxy"`` (x1, y1, x2, y2) or ``"cxcywh"`` (centre x, centre y, width, height).
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [*]).

    Raises:
        ValueError: shapes that differ or do not end in 4, or a true box that is inverted or not finite.

    >>> import torch
    >>> GIoU()(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 1.0]]))
    tensor(0.5000)
    """

    upper = 2.0
    reference = 2.0

    def of_corners(self, input: Tensor, target: Tensor) -> Tensor:
        """One value per box."""
        return giou_loss(input, target)


class DIoU(BoxLoss):
    r"""Distance-IoU loss of boxes, :math:`1 - \frac{I}{U} + \frac{\rho^2}{c^2}`.

    :math:`\rho` is the distance of the centres and :math:`c` the diagonal of the smallest box around all corners. For
    boxes [*, 4] that may not meet: they are pulled straight towards each other, where `GIoU` first grows them. Zheng et
    al., "Distance-IoU loss", 2020.

    Range :math:`[0, 2)`; reference 2, a box far off. Both centres lie in the box around all corners, so
    :math:`\rho < c`. Boxes without area are as in `IoU`; the distance still pulls them, and inverted predictions too.

    Trap: boxes with the same centre differ by their IoU alone, whatever their shapes.

    The number of boxes differs from rank to rank, so the mean always asks for their global number.

    Args:
        format: of both boxes, ``"xyxy"`` (x1, y1, x2, y2) or ``"cxcywh"`` (centre x, centre y, width, height).
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [*]).

    Raises:
        ValueError: shapes that differ or do not end in 4, or a true box that is inverted or not finite.

    >>> import torch
    >>> DIoU()(torch.tensor([[1.0, 1.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))  # 1 + 2 / 8
    tensor(1.2500)
    """

    upper = 2.0
    reference = 2.0

    def of_corners(self, input: Tensor, target: Tensor) -> Tensor:
        """One value per box."""
        return diou_loss(input, target)


class CIoU(BoxLoss):
    r"""Complete IoU loss of boxes, :math:`u + \frac{\rho^2}{c^2} + \frac{v^2}{u + v}` with :math:`u = 1 - \frac{I}{U}`.

    For boxes [*, 4] whose shape matters: it is `DIoU`, and :math:`v \in [0, 1]`, the squared difference of the aspect
    ratios as angles, which counts the more the better the boxes overlap. Zheng et al., "Distance-IoU loss", 2020.

    Range :math:`[0, 2.5)`; reference 2, a box far off of the right shape. The value grows in :math:`u`, :math:`\rho/c`
    and :math:`v`, so its supremum is at 1, 1, 1. Boxes without area are as in `DIoU`; a point has no aspect ratio, and
    its :math:`v` is 0.

    Trap: :math:`v` knows the ratio of the sides and not their size.

    Differs from others, which hold the factor :math:`\alpha = v / (u + v)` of :math:`v` constant in the gradient: here
    it is differentiated as well, so that gradient and Hessian are those of the value. The pull on the aspect ratio is
    up to twice as strong (:math:`2\alpha - \alpha^2` for :math:`\alpha`), and that on the overlap keeps its sign
    (:math:`1 - \alpha^2` for 1). Degenerate predictions, of which torchvision makes NaN, have finite derivatives.

    The number of boxes differs from rank to rank, so the mean always asks for their global number.

    Args:
        format: of both boxes, ``"xyxy"`` (x1, y1, x2, y2) or ``"cxcywh"`` (centre x, centre y, width, height).
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [*]).

    Raises:
        ValueError: shapes that differ or do not end in 4, or a true box that is inverted or not finite.

    >>> import torch
    >>> CIoU()(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    tensor(0.5532)
    """

    upper = 2.5
    reference = 2.0

    def of_corners(self, input: Tensor, target: Tensor) -> Tensor:
        """One value per box."""
        return ciou_loss(input, target)
