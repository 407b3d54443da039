"""Measures of sharpness that do not change when a network is rescaled without changing what it computes."""

import torch

from lightning_losses.curvature.directions import norm
from lightning_losses.curvature.estimate import Direction, Estimate, Objective, Parameters, Subject
from lightning_losses.curvature.lanczos import Eigenpair, largest_eigenvalue, preconditioned
from lightning_losses.curvature.products import HessianOperator
from lightning_losses.curvature.trace import hutchinson_trace


def adaptive_trace(
    objective: Objective,
    parameters: Parameters,
    *,
    probes: int = 100,
    relative_error: float | None = None,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> Estimate:
    r"""The trace of the Hessian in units of the weights.

    .. math::
        \sum_i w_i^2 H_{ii} = \operatorname{Tr} |W| H |W| = \mathbb E\, (v \odot w)^\top H (v \odot w), \qquad
        v_i \in \{-1, 1\}

    Multiplying the weights into a ReLU unit and dividing those out of it changes the trace of H but not the function
    (Dinh et al. 2017, arXiv:1703.04933). This sum stays, for every single v.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: w, where the Hessian is taken.
        probes: how many random vectors, at most.
        relative_error: stop as in `hutchinson_trace`.
        generator: source of randomness; None for the global one.
        of: mode and batch, which the result repeats.

    >>> print(adaptive_trace(lambda p: p["w"].square().sum(), {"w": torch.tensor([1.0, 2.0])}, probes=5))
    10 ± 0 (Hessian, eval mode, one batch, 5 probes)
    """
    return hutchinson_trace(
        objective,
        parameters,
        probes=probes,
        relative_error=relative_error,
        scale=parameters,
        generator=generator,
        of=of,
    )


def layer_normalized_trace(
    objective: Objective,
    parameters: Parameters,
    *,
    probes: int = 100,
    relative_error: float | None = None,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> Estimate:
    r"""The trace of the Hessian, each layer's in units of the norm of its weights.

    .. math::
        \sum_l \lVert w_l \rVert^2 \operatorname{Tr} H_{ll}

    with one l for each parameter tensor, since a bias does not always follow the scale of the weights beside it. The
    sum stays when whole layers are rescaled (cf. Tsuzuku et al. 2020, arXiv:1901.04653), not when single units are;
    in return a weight of 0 counts, which in `adaptive_trace` it does not.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: w, where the Hessian is taken.
        probes: how many random vectors, at most.
        relative_error: stop as in `hutchinson_trace`.
        generator: source of randomness; None for the global one.
        of: mode and batch, which the result repeats.

    >>> print(layer_normalized_trace(lambda p: p["w"].square().sum(), {"w": torch.tensor([3.0, 4.0])}, probes=5))
    100 ± 0 (Hessian, eval mode, one batch, 5 probes)
    """
    lengths = {name: norm({name: p.detach()}).to(p.dtype).expand(p.shape) for name, p in parameters.items()}
    return hutchinson_trace(
        objective, parameters, probes=probes, relative_error=relative_error, scale=lengths, generator=generator, of=of
    )


def adaptive_eigenvalue(objective: Objective, parameters: Parameters, start: Direction, steps: int = 3) -> Eigenpair:
    r"""The largest eigenvalue of :math:`|W| H |W|`, adaptive sharpness in the limit of a small radius.

    .. math::
        \lambda_{\max}(|W| H |W|) = \max_{\lVert u \rVert = 1} (u \odot w)^\top H (u \odot w)

    (Kwon et al. 2021, arXiv:2102.11600). It stays when the weights are rescaled as `adaptive_trace` says.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: w, where the Hessian is taken.
        start: where to start: the vector of the last result or a random one.
        steps: the number of Hessian-vector products.

    >>> start = {"w": torch.ones(2)}
    >>> round(adaptive_eigenvalue(lambda p: p["w"].square().sum(), {"w": torch.tensor([1.0, -2.0])}, start).value, 4)
    8.0
    """
    weights = {name: p.detach().abs() for name, p in parameters.items()}
    product = HessianOperator(objective, parameters).product
    return largest_eigenvalue(preconditioned(product, weights), start, steps)
