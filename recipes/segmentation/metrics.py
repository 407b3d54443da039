"""Overlap of predicted and true regions, from one confusion matrix of all pixels of a data set."""

from collections.abc import Sequence

import torch
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
    that class's IoU J. A class that is neither true nor predicted anywhere is left out, and so is `ignore_index`.

    Args:
        num_classes: classes, the background being class 0.
        ignore_index: the label of pixels that do not count.

    >>> import torch
    >>> overlap = Overlap(num_classes=2)
    >>> overlap.update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]))
    >>> overlap.compute()
    {'iou': tensor(0.5833), 'dice': tensor(0.8000), 'confusion': tensor([[1, 0],
            [1, 2]])}
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__(num_classes, ignore_index=ignore_index, validate_args=False)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """``iou`` and ``dice``, 0-d tensors, and ``confusion``, the pixels by true and predicted class [C, C]."""
        matrix = super().compute()
        both, sizes = matrix.diag(), matrix.sum(0) + matrix.sum(1)
        iou, dice = both / (sizes - both), 2 * both / sizes
        if self.ignore_index is not None and 0 <= self.ignore_index < len(both):
            iou[self.ignore_index] = dice[self.ignore_index] = torch.nan
        return {"iou": iou.nanmean(), "dice": dice[1:].nanmean(), "confusion": matrix}


def confusion_table(confusion: Tensor, class_names: Sequence[str]) -> tuple[list[str], list[list[str | float]]]:
    """Columns and rows for `log_table`: of the pixels of each class the share that was taken for which.

    Args:
        confusion: pixels by true and predicted class, [C, C].
        class_names: of the classes.

    >>> import torch
    >>> confusion_table(torch.tensor([[3, 1], [0, 0]]), ["ground", "cell"])
    (['true class', 'as ground', 'as cell'], [['ground', 0.75, 0.25], ['cell', 0.0, 0.0]])
    """
    shares = (confusion.double() / confusion.sum(1, keepdim=True).clamp_min(1)).round(decimals=4)
    rows: list[list[str | float]] = [[name, *row] for name, row in zip(class_names, shares.tolist(), strict=True)]
    return ["true class", *(f"as {name}" for name in class_names)], rows
