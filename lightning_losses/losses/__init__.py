"""Thin modules over the formulas: checks of hyperparameters, bounds, reduction."""

from lightning_losses.losses.base import ElementwiseLoss, Loss
from lightning_losses.losses.boxes import GIoU
from lightning_losses.losses.classification import BCEWithLogits, CrossEntropy
from lightning_losses.losses.focal import SigmoidFocal, SoftmaxFocal
from lightning_losses.losses.regression import MSE, SmoothL1
from lightning_losses.losses.segmentation import Dice, DiceCE

__all__ = [
    "MSE",
    "BCEWithLogits",
    "CrossEntropy",
    "Dice",
    "DiceCE",
    "ElementwiseLoss",
    "GIoU",
    "Loss",
    "SigmoidFocal",
    "SmoothL1",
    "SoftmaxFocal",
]
