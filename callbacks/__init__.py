"""Callbacks for Lightning Trainers."""

from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.callbacks.loss_module_steps import LossModuleSteps
from lightning_losses.callbacks.manual import manual_step

__all__ = ["IncompatibleError", "LossModuleSteps", "manual_step"]
