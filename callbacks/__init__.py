"""Callbacks for Lightning Trainers."""

from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.callbacks.continual.consolidation import Consolidation
from lightning_losses.callbacks.continual.fisher import FisherInformation
from lightning_losses.callbacks.continual.learning import ContinualLearning
from lightning_losses.callbacks.continual.path import PathIntegral
from lightning_losses.callbacks.continual.sensitivity import OutputSensitivity
from lightning_losses.callbacks.continual.teacher import Teacher, TeacherSnapshot
from lightning_losses.callbacks.dashboard import WandbSummaries
from lightning_losses.callbacks.figures import log_figure
from lightning_losses.callbacks.gradient_norm import GradientNormMonitor
from lightning_losses.callbacks.hessian_trace import HessianTraceMonitor
from lightning_losses.callbacks.loss_module_steps import LossModuleSteps
from lightning_losses.callbacks.loss_surface import LossSurfacePlot
from lightning_losses.callbacks.manual import manual_step
from lightning_losses.callbacks.normalized_loss import NormalizedLossMonitor
from lightning_losses.callbacks.preemption.checkpoint import Preempted, PreemptionCheckpoint
from lightning_losses.callbacks.random_state import RandomState
from lightning_losses.callbacks.resumable_checkpoint import ResumableCheckpoint
from lightning_losses.callbacks.tables import log_table
from lightning_losses.callbacks.term_gradients import TermGradientMonitor

__all__ = [
    "Consolidation",
    "ContinualLearning",
    "FisherInformation",
    "GradientNormMonitor",
    "HessianTraceMonitor",
    "IncompatibleError",
    "LossModuleSteps",
    "LossSurfacePlot",
    "NormalizedLossMonitor",
    "OutputSensitivity",
    "PathIntegral",
    "Preempted",
    "PreemptionCheckpoint",
    "RandomState",
    "ResumableCheckpoint",
    "Teacher",
    "TeacherSnapshot",
    "TermGradientMonitor",
    "WandbSummaries",
    "log_figure",
    "log_table",
    "manual_step",
]
