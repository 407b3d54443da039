"""Thin modules over the formulas: checks of hyperparameters, bounds, reduction."""

from lightning_losses.losses.base import ElementwiseLoss, Loss, UnaryLoss
from lightning_losses.losses.berhu import BerHu
from lightning_losses.losses.boundary import Boundary
from lightning_losses.losses.boxes import CIoU, DIoU, GIoU, IoU
from lightning_losses.losses.classification import BCEWithLogits, CrossEntropy
from lightning_losses.losses.focal import SigmoidFocal, SoftmaxFocal
from lightning_losses.losses.landmarks import AdaptiveWing, Wing
from lightning_losses.losses.lovasz import LovaszHinge, LovaszSoftmax
from lightning_losses.losses.quantile import Quantile, QuantileCrossing
from lightning_losses.losses.regression import MAE, MSE, SmoothL1
from lightning_losses.losses.robust import Huber, LogCosh
from lightning_losses.losses.rounding import Rounding, RoundingDecision
from lightning_losses.losses.segmentation import Dice, DiceCE, GeneralizedDice
from lightning_losses.losses.tversky import FocalTversky, Tversky

__all__ = [
    "MAE",
    "MSE",
    "AdaptiveWing",
    "BCEWithLogits",
    "BerHu",
    "Boundary",
    "CIoU",
    "CrossEntropy",
    "DIoU",
    "Dice",
    "DiceCE",
    "ElementwiseLoss",
    "FocalTversky",
    "GIoU",
    "GeneralizedDice",
    "Huber",
    "IoU",
    "LogCosh",
    "Loss",
    "LovaszHinge",
    "LovaszSoftmax",
    "Quantile",
    "QuantileCrossing",
    "Rounding",
    "RoundingDecision",
    "SigmoidFocal",
    "SmoothL1",
    "SoftmaxFocal",
    "Tversky",
    "UnaryLoss",
    "Wing",
]
