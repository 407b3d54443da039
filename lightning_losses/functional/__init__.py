"""Pure per-element formulas: no reduction, no state, a file per family."""

from lightning_losses.functional.boxes import giou_loss
from lightning_losses.functional.classification import binary_cross_entropy, cross_entropy
from lightning_losses.functional.focal import sigmoid_focal, softmax_focal
from lightning_losses.functional.regression import smooth_l1, squared_error
from lightning_losses.functional.segmentation import class_overlap, dice_distance

__all__ = [
    "binary_cross_entropy",
    "class_overlap",
    "cross_entropy",
    "dice_distance",
    "giou_loss",
    "sigmoid_focal",
    "smooth_l1",
    "softmax_focal",
    "squared_error",
]
