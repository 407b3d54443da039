"""Against the distance of two boxes."""

import torch
from torch import Tensor

from catalogue.plot import Curve, Plot, along
from lightning_losses.losses import CIoU, DIoU, GIoU, IoU, Loss

SHAPES = {"the same shape": (1.0, 1.0), "half as wide": (0.5, 1.0), "4 times as wide as high": (2.0, 0.5)}


def shifted(loss: Loss, width: float, height: float) -> Curve:
    """A box that is moved along the x axis past the unit square."""

    def boxes(x: Tensor) -> tuple[Tensor, Tensor]:
        shape = torch.tensor([0.0, width, height], dtype=x.dtype)
        return torch.cat([x.reshape(1), shape]).unsqueeze(0), torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=x.dtype)

    return along(loss, boxes)


BOXES = {
    type(loss).__name__: Plot(
        "shift of the predicted box, in widths of the true one",
        (-3, 3),
        {label: shifted(loss, *shape) for label, shape in SHAPES.items()},
        "The true box is a square.",
    )
    for loss in (kind(format="cxcywh") for kind in (IoU, GIoU, DIoU, CIoU))
}
