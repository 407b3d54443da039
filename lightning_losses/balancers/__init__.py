"""Methods that weigh the terms of a composed loss, one a file."""

from lightning_losses.balancers.base import Balanced, Balancer, weighted_sum
from lightning_losses.balancers.branches import Branches
from lightning_losses.balancers.dwa import DynamicWeightAverage
from lightning_losses.balancers.fixed import Fixed
from lightning_losses.balancers.gradnorm import GradNorm, gradnorm_gradient
from lightning_losses.balancers.gramian import Gramian
from lightning_losses.balancers.probe import FeatureProbe, ParameterProbe, Probe
from lightning_losses.balancers.scalarizer import Scalarizer
from lightning_losses.balancers.uncertainty import Uncertainty

__all__ = [
    "Balanced",
    "Balancer",
    "Branches",
    "DynamicWeightAverage",
    "FeatureProbe",
    "Fixed",
    "GradNorm",
    "Gramian",
    "ParameterProbe",
    "Probe",
    "Scalarizer",
    "Uncertainty",
    "gradnorm_gradient",
    "weighted_sum",
]
