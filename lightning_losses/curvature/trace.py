"""The trace of the Hessian, whole and by layer group, its diagonal and its Frobenius norm, from random products."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message, nearest
from lightning_losses.curvature.directions import dot, dots, multiply, rademacher_like
from lightning_losses.curvature.estimate import Direction, Estimate, Objective, Parameters, Subject
from lightning_losses.curvature.moments import Moments
from lightning_losses.curvature.products import HessianOperator
from lightning_losses.numerics import safe_divide

MINIMUM_PROBES = 10
"""Before which no tolerance stops an estimate: of two or three probes the standard error is itself a guess."""


def hutchinson_trace(
    objective: Objective,
    parameters: Parameters,
    *,
    probes: int = 100,
    relative_error: float | None = None,
    groups: Sequence[Sequence[str]] | None = None,
    scale: Direction | None = None,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> Estimate:
    r"""The trace of the Hessian by random quadratic forms (Hutchinson 1990).

    .. math::
        \operatorname{Tr} H = \mathbb E\, v^\top H v, \qquad v_i \in \{-1, 1\} \text{ independent}, \qquad
        \operatorname{Var} v^\top H v = 2 \sum_{i \ne j} H_{ij}^2

    By layer group the trace of the block is :math:`\mathbb E\, v_g^\top (Hv)_g`, all groups from the same products.

    Each probe is independent of the others, so the standard error is that of a mean. It alone may stop the estimate:
    a small change from one probe to the next bounds no error, and a trace may be negative.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: where the Hessian is taken.
        probes: how many random vectors, at most.
        relative_error: stop as soon as the standard error is at most this share of the value's magnitude (in every
            group), not before 10 probes. Errors found this way are slightly too small, since stopping prefers them.
        groups: the names of the parameters of each layer group; None for one trace over all parameters.
        scale: s of the matrix :math:`\operatorname{diag}(s)\, H \operatorname{diag}(s)`, by name, instead of H.
        generator: source of randomness; None for the global one.
        of: mode and batch, which the result repeats.

    Returns:
        The estimate, 0-d or by group [G]; with one probe its standard error is NaN.

    Raises:
        ValueError: `probes` below 1, a negative `relative_error`, a group with a name that is no parameter's.

    >>> loss = lambda p: 0.5 * (torch.tensor([1.0, 2.0, 4.0]) * p["w"].square()).sum()
    >>> print(hutchinson_trace(loss, {"w": torch.ones(3)}, probes=10))
    7 ± 0 (Hessian, eval mode, one batch, 10 probes)
    """
    check_number("probes", probes, at_least=1)
    check_number("relative_error", relative_error or 0.0, at_least=0)
    _check_groups(groups, parameters)
    hessian, moments = HessianOperator(objective, parameters), Moments()
    while moments.count < probes:
        probe = rademacher_like(parameters, generator)
        probe = probe if scale is None else multiply(probe, scale)
        forms = dots(probe, hessian.product(probe))
        moments.add(_sum(forms) if groups is None else torch.stack([_sum(forms, group) for group in groups]))
        if relative_error is not None and moments.count >= MINIMUM_PROBES and moments.reached(relative_error):
            break
    return moments.estimate(replace(of, matrix="Hessian"))


def diagonal(
    objective: Objective,
    parameters: Parameters,
    *,
    probes: int = 100,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> dict[str, Estimate]:
    r"""The diagonal of the Hessian (Bekas, Kokiopoulou and Saad 2007).

    .. math::
        H_{ii} = \mathbb E\, v_i (Hv)_i, \qquad v_i \in \{-1, 1\}, \qquad
        \operatorname{Var} v_i (Hv)_i = \sum_{j \ne i} H_{ij}^2

    An entry's error is as large as the rest of its row, however small the entry: look at the standard errors.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: where the Hessian is taken.
        probes: how many random vectors.
        generator: source of randomness; None for the global one.
        of: mode and batch, which the results repeat.

    Returns:
        For each parameter an estimate of its shape, with a standard error for each entry.

    >>> diagonal(lambda p: (p["w"] ** 3).sum(), {"w": torch.tensor([1.0, 2.0])}, probes=2)["w"].value
    tensor([ 6., 12.], dtype=torch.float64)
    """
    check_number("probes", probes, at_least=1)
    hessian, moments = HessianOperator(objective, parameters), {name: Moments() for name in parameters}
    for _ in range(probes):
        probe = rademacher_like(parameters, generator)
        product = hessian.product(probe)
        for name, moment in moments.items():
            moment.add(probe[name] * product[name])
    return {name: moment.estimate(replace(of, matrix="Hessian")) for name, moment in moments.items()}


def frobenius_norm(
    objective: Objective,
    parameters: Parameters,
    *,
    probes: int = 100,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> Estimate:
    r"""The Frobenius norm of the Hessian.

    .. math::
        \lVert H\rVert_F = \sqrt{\sum_{ij} H_{ij}^2} = \sqrt{\mathbb E \lVert Hv\rVert^2}

    The square root of an unbiased estimate; its standard error is the square's divided by
    :math:`2 \lVert H\rVert_F` (delta method).

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: where the Hessian is taken.
        probes: how many random vectors.
        generator: source of randomness; None for the global one.
        of: mode and batch, which the result repeats.

    >>> frobenius_norm(lambda p: (p["w"] ** 2).sum(), {"w": torch.ones(4)}, probes=2).value
    tensor(4., dtype=torch.float64)
    """
    check_number("probes", probes, at_least=1)
    hessian, moments = HessianOperator(objective, parameters), Moments()
    for _ in range(probes):
        product = hessian.product(rademacher_like(parameters, generator))
        moments.add(dot(product, product))
    square, value = moments.estimate(replace(of, matrix="Hessian")), moments.mean.sqrt()
    return replace(square, value=value, standard_error=safe_divide(square.standard_error, 2 * value))


def _sum(forms: dict[str, Tensor], names: Sequence[str] | None = None) -> Tensor:
    return torch.stack([forms[name] for name in (forms if names is None else names)]).sum()


def _check_groups(groups: Sequence[Sequence[str]] | None, parameters: Parameters) -> None:
    for group in groups or ():
        if not group:
            raise ValueError(message("groups", "sequences of at least one parameter's name", group))
        for name in group:
            if name not in parameters:
                raise ValueError(f"`groups` must name parameters, found {name!r}. {nearest(name, parameters)}")
