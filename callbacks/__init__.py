"""Callbacks for Lightning Trainers."""

from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.callbacks.loss_module_steps import LossModuleSteps
from lightning_losses.callbacks.manual import manual_step
from lightning_losses.callbacks.random_state import RandomState
from lightning_losses.callbacks.resumable_checkpoint import ResumableCheckpoint

__all__ = ["IncompatibleError", "LossModuleSteps", "RandomState", "ResumableCheckpoint", "manual_step"]
