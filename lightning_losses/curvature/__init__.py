"""Curvature of a loss: products, traces, eigenvalues and pictures, as functions of an objective and its parameters."""

from lightning_losses.curvature.certificate import Certificate, certify
from lightning_losses.curvature.critical import CriticalSharpness, critical_sharpness
from lightning_losses.curvature.density import SpectralDensity, spectral_density
from lightning_losses.curvature.directions import dot, norm, normal_like, rademacher_like
from lightning_losses.curvature.estimate import Direction, Estimate, Objective, Parameters, Subject
from lightning_losses.curvature.ggn_trace import GaussNewtonEstimate, GaussNewtonTrace
from lightning_losses.curvature.lanczos import (
    Eigenpair,
    RitzPairs,
    lanczos,
    largest_eigenvalue,
    largest_eigenvalues,
    preconditioned,
)
from lightning_losses.curvature.local_level import Band, LocalLevel
from lightning_losses.curvature.loss_calls import NoLikelihoodError
from lightning_losses.curvature.products import (
    HessianOperator,
    check_deterministic,
    gauss_newton_product,
    hessian_product,
    jacobian_product,
)
from lightning_losses.curvature.quadratic_forms import gauss_newton_form
from lightning_losses.curvature.residual import residual_trace
from lightning_losses.curvature.sharpness import adaptive_eigenvalue, adaptive_trace, layer_normalized_trace
from lightning_losses.curvature.sketched_trace import hutch_plus_plus, xtrace
from lightning_losses.curvature.surfaces import (
    TrajectoryPlane,
    filter_normalized,
    plane_2d,
    slice_1d,
    trajectory_directions,
)
from lightning_losses.curvature.trace import diagonal, frobenius_norm, hutchinson_trace
from lightning_losses.curvature.twice import differentiable_twice

__all__ = [
    "Band",
    "Certificate",
    "CriticalSharpness",
    "Direction",
    "Eigenpair",
    "Estimate",
    "GaussNewtonEstimate",
    "GaussNewtonTrace",
    "HessianOperator",
    "LocalLevel",
    "NoLikelihoodError",
    "Objective",
    "Parameters",
    "RitzPairs",
    "SpectralDensity",
    "Subject",
    "TrajectoryPlane",
    "adaptive_eigenvalue",
    "adaptive_trace",
    "certify",
    "check_deterministic",
    "critical_sharpness",
    "diagonal",
    "differentiable_twice",
    "dot",
    "filter_normalized",
    "frobenius_norm",
    "gauss_newton_form",
    "gauss_newton_product",
    "hessian_product",
    "hutch_plus_plus",
    "hutchinson_trace",
    "jacobian_product",
    "lanczos",
    "largest_eigenvalue",
    "largest_eigenvalues",
    "layer_normalized_trace",
    "norm",
    "normal_like",
    "plane_2d",
    "preconditioned",
    "rademacher_like",
    "residual_trace",
    "slice_1d",
    "spectral_density",
    "trajectory_directions",
    "xtrace",
]
