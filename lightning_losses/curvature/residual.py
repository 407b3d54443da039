"""What the Hessian has beyond the Gauss-Newton matrix: a control variate for its trace."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.curvature.directions import dots, rademacher_like
from lightning_losses.curvature.estimate import Direction, Estimate, Objective, Parameters, Subject
from lightning_losses.curvature.loss_calls import LossCall, record_loss_calls
from lightning_losses.curvature.moments import Moments
from lightning_losses.curvature.products import checked_loss, leaves, recording
from lightning_losses.curvature.twice import explained


def residual_trace(
    objective: Objective,
    parameters: Parameters,
    *,
    probes: int = 1,
    groups: Sequence[Sequence[str]] | None = None,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> Estimate:
    r"""The trace of H - G, by Hutchinson's probes.

    .. math::
        \operatorname{Tr} H = \operatorname{Tr} G + \operatorname{Tr}(H - G), \qquad
        \operatorname{Tr}(H - G) = \mathbb E\, v^\top (Hv - Gv)

    The Gauss-Newton matrix G holds most of a trained network's curvature, and its trace is had with far less noise
    (`GaussNewtonTrace`). Only the rest needs probes in the space of the parameters: its noise is that of H - G.

    Args:
        objective: the loss on one fixed batch, 0-d, a sum of known losses of a network's outputs.
        parameters: where the matrices are taken.
        probes: how many random vectors.
        groups: the names of the parameters of each layer group; None for one trace over all parameters.
        generator: source of randomness; None for the global one.
        of: mode and batch, which the result repeats; its matrix is called the Hessian, which the sum estimates.

    Returns:
        The estimate, 0-d or by group [G]; with one probe its standard error is NaN.

    Raises:
        NoLikelihoodError: the loss is no sum of known losses of outputs.
        RuntimeError: an operation can be differentiated only once; see `differentiable_twice`.
        ValueError: `probes` below 1.

    >>> import torch.nn.functional as F
    >>> loss = lambda p: F.mse_loss(p["w"] ** 2, torch.ones(1))  # H = 12 w^2 - 4, G = 8 w^2
    >>> float(residual_trace(loss, {"w": torch.tensor([2.0])}).value)
    12.0
    """
    check_number("probes", probes, at_least=1)
    at, moments = leaves(parameters), Moments()
    with recording(), record_loss_calls() as calls:
        total = checked_loss(objective(at))
        used = calls.coefficients(total)
    with recording(), explained():
        gradient = torch.autograd.grad(total, list(at.values()), create_graph=True, materialize_grads=True)
        for _ in range(probes):
            probe = rademacher_like(parameters, generator)
            curved = _products(at, gradient, probe)
            for call, slope in used:
                curved = [h - g for h, g in zip(curved, _gauss_newton(at, call, slope, probe), strict=True)]
            forms = dots(probe, dict(zip(at, curved, strict=True)))
            shown = [list(forms)] if groups is None else groups
            sums = torch.stack([torch.stack([forms[name] for name in names]).sum() for names in shown])
            moments.add(sums if groups is not None else sums[0])
    return moments.estimate(replace(of, matrix="Hessian"))


def _products(at: Parameters, gradient: Sequence[Tensor], probe: Direction) -> list[Tensor]:
    """Hv."""
    pairs = [(g, probe[name]) for name, g in zip(at, gradient, strict=True) if g.requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in at.values()]
    curved, vectors = zip(*pairs, strict=True)
    return list(torch.autograd.grad(curved, list(at.values()), vectors, retain_graph=True, materialize_grads=True))


def _gauss_newton(at: Parameters, call: LossCall, slope: Tensor, probe: Direction) -> list[Tensor]:
    """J' H_L J v of one call: J v is the derivative of J' u by u, along v."""
    z, at_leaves = call.outputs, list(at.values())
    u = torch.zeros_like(z, requires_grad=True)
    pulled = torch.autograd.grad(z, at_leaves, u, create_graph=True, materialize_grads=True)
    pairs = [(p, probe[name]) for name, p in zip(at, pulled, strict=True) if p.requires_grad]
    forms, vectors = zip(*pairs, strict=True)
    (pushed,) = torch.autograd.grad(forms, u, vectors, retain_graph=True)
    leaf = z.detach().requires_grad_()
    value = (call.values(leaf) * (slope if call.share is None else slope * call.share)).sum()
    (own_slopes,) = torch.autograd.grad(value, leaf, create_graph=True)
    if not own_slopes.requires_grad:
        return [torch.zeros_like(one) for one in at_leaves]
    (curved,) = torch.autograd.grad(own_slopes, leaf, pushed)
    return list(torch.autograd.grad(z, at_leaves, curved, retain_graph=True, materialize_grads=True))
