"""Overlap of predicted and true regions, from one confusion matrix of all pixels of a data set."""

from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix


class Overlap(MulticlassConfusionMatrix):
    r"""Mean IoU and Dice of a data set.

    With :math:`I_c` the pixels that are class c in truth and prediction, :math:`T_c` and :math:`P_c` those that are in
    truth, in prediction:

    .. math:: \text{iou} = \operatorname{mean}_{c \ge 0} \frac{I_c}{T_c + P_c - I_c}, \qquad
        \text{dice} = \operatorname{mean}_{c \ge 1} \frac{2 I_c}{T_c + P_c}

    Pixels are counted over all images and ranks before anything is divided, so a large image weighs more than a small
    one and no image is without a value. `iou` averages over all classes with the background, as benchmarks of scenes
    do; `dice` over the foreground, as benchmarks of cells do: with one foreground class it is :math:`2J / (1 + J)` of
    that class's IoU J. A class that is neither true nor predicted anywhere is left out.

    Args:
        num_classes: classes, the background being class 0.
        ignore_index: the label of pixels that do not count.

    >>> import torch
    >>> overlap = Overlap(num_classes=2)
    >>> overlap.update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]))
    >>> {name: round(float(value), 4) for name, value in overlap.compute().items()}
    {'iou': 0.5833, 'dice': 0.8}
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__(num_classes, ignore_index=ignore_index, validate_args=False)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """``{"iou": ..., "dice": ...}``, two 0-d tensors."""
        matrix = super().compute()
        both, sizes = matrix.diag(), matrix.sum(0) + matrix.sum(1)
        return {"iou": (both / (sizes - both)).nanmean(), "dice": (2 * both / sizes)[1:].nanmean()}
