"""Thin modules over the formulas: checks of hyperparameters, bounds, reduction."""

from lightning_losses.losses.base import ElementwiseLoss, Loss
from lightning_losses.losses.regression import MSE

__all__ = ["MSE", "ElementwiseLoss", "Loss"]
