"""Losses of boxes."""

import torch
from torch import Tensor

from lightning_losses.checks import check_same_shape, is_readable, message
from lightning_losses.functional.boxes import giou_loss
from lightning_losses.losses.base import ElementwiseLoss
from lightning_losses.reduction import Parts


class GIoU(ElementwiseLoss):
    r"""Generalised IoU loss of boxes, :math:`1 - \frac{I}{U} + \frac{C - U}{C}`.

    :math:`I` and :math:`U` are the areas of intersection and union, :math:`C` that of the smallest box around both.
    Unlike 1 - IoU it has a gradient where the boxes do not meet. Rezatofighi et al., "Generalized intersection over
    union", 2019. Boxes [*, 4] are (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, in any unit.

    Range :math:`[0, 2)`; reference 2, a box far off. Two boxes without any area score 0 if they are equal and 2 if not,
    with a zero gradient; an inverted prediction counts as a box without area.

    The number of boxes differs from rank to rank, so the mean always asks for their global number.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (values [*]).

    Raises:
        ValueError: shapes that differ or do not end in 4, or an inverted true box.

    >>> import torch
    >>> GIoU()(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 1.0]]))
    tensor(0.5000)
    """

    upper = 2.0
    reference = 2.0

    def elements(self, input: Tensor, target: Tensor) -> Parts:
        """One value per box."""
        check_same_shape("input", input, "target", target)
        if input.shape[-1:] != (4,):
            raise ValueError(message("input", "of shape [*, 4]", tuple(input.shape)))
        if is_readable(target) and bool((target[..., 2:] < target[..., :2]).any()):
            inverted = target[(target[..., 2:] < target[..., :2]).any(-1)][0].tolist()
            raise ValueError(message("target", "boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2", inverted))
        values = giou_loss(input, target)
        return Parts(values, torch.ones_like(values))

    def element_axis(self, target: Tensor) -> int:
        """A box is four numbers."""
        return -1
