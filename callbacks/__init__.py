"""Callbacks for Lightning Trainers."""

from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.callbacks.gradient_norm import GradientNormMonitor
from lightning_losses.callbacks.hessian_trace import HessianTraceMonitor
from lightning_losses.callbacks.loss_module_steps import LossModuleSteps
from lightning_losses.callbacks.loss_surface import LossSurfacePlot
from lightning_losses.callbacks.manual import manual_step
from lightning_losses.callbacks.normalized_loss import NormalizedLossMonitor
from lightning_losses.callbacks.random_state import RandomState
from lightning_losses.callbacks.resumable_checkpoint import ResumableCheckpoint
from lightning_losses.callbacks.term_gradients import TermGradientMonitor

__all__ = [
    "GradientNormMonitor",
    "HessianTraceMonitor",
    "IncompatibleError",
    "LossModuleSteps",
    "LossSurfacePlot",
    "NormalizedLossMonitor",
    "RandomState",
    "ResumableCheckpoint",
    "TermGradientMonitor",
    "manual_step",
]
