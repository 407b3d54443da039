"""Compose, balance and monitor losses inside PyTorch Lightning."""

from lightning_losses import balancers, functional, losses, schedules
from lightning_losses.advise import advise
from lightning_losses.bounds import Bounds
from lightning_losses.module import LossModule
from lightning_losses.parameters import parameter_groups
from lightning_losses.report import Report
from lightning_losses.term import Term
from lightning_losses.version import __version__

__all__ = [
    "Bounds",
    "LossModule",
    "Report",
    "Term",
    "__version__",
    "advise",
    "balancers",
    "functional",
    "losses",
    "parameter_groups",
    "schedules",
]
