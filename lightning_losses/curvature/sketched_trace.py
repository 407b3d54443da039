"""Trace estimators that take out the largest eigenvalues by a sketch: Hutch++ and XTrace.

They pay where a few eigenvalues make up most of the Frobenius norm, and only from some number of products on: on small
networks with an indefinite or slowly decaying spectrum both lose to `hutchinson_trace` below 24 to 48 products. They
keep one vector of the size of the parameters for each product.
"""

from dataclasses import replace

import torch
from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.curvature.directions import flattened, normal_like, rademacher_like, size, unflattened
from lightning_losses.curvature.estimate import Estimate, Objective, Parameters, Subject
from lightning_losses.curvature.moments import Moments
from lightning_losses.curvature.products import HessianOperator, Product
from lightning_losses.numerics import safe_divide, widest


def hutch_plus_plus(
    objective: Objective,
    parameters: Parameters,
    *,
    matvecs: int = 48,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> Estimate:
    r"""The trace of the Hessian by Hutch++ (Meyer, Musco, Musco and Woodruff 2021, arXiv:2010.09649).

    .. math::
        \operatorname{Tr} H = \operatorname{Tr} Q^\top H Q + \mathbb E\, v^\top \Pi H \Pi v, \qquad \Pi = I - Q Q^\top

    where Q is an orthonormal basis of :math:`H S` for k random vectors S, and v are k further ones; m products are
    spent in three equal parts. The first term is exact, so an H of rank at most k has its exact trace.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: where the Hessian is taken.
        matvecs: m, the number of Hessian-vector products, at least 6.
        generator: source of randomness; None for the global one.
        of: mode and batch, which the result repeats.

    Returns:
        The estimate, 0-d. Its standard error is that of the mean of the residual forms: given Q they are independent
        and nothing else is random. `probes` counts both kinds of random vectors.

    Raises:
        ValueError: `matvecs` below 6.

    >>> target = torch.ones(8, dtype=torch.float64)
    >>> rank_one = lambda p: 0.5 * (p["w"] @ target).square()
    >>> print(f"{hutch_plus_plus(rank_one, {'w': torch.zeros_like(target)}, matvecs=6).value:.6f}")
    8.000000
    """
    check_number("matvecs", matvecs, at_least=6)
    product, third = HessianOperator(objective, parameters).product, matvecs // 3
    sketch = torch.stack([flattened(rademacher_like(parameters, generator)) for _ in range(third)], dim=1)
    basis = torch.linalg.qr(_images(product, parameters, sketch)).Q
    captured = widest((basis * _images(product, parameters, basis)).sum(0)).sum()
    residual = Moments()
    for _ in range(matvecs - third - basis.shape[1]):
        probe = flattened(rademacher_like(parameters, generator))
        probe = probe - basis @ (basis.T @ probe)
        image = flattened(product(unflattened(probe, parameters)))
        residual.add(widest(probe * image).sum())
    estimate = residual.estimate(replace(of, matrix="Hessian"))
    return replace(estimate, value=captured + estimate.value, probes=third + residual.count)


def xtrace(
    objective: Objective,
    parameters: Parameters,
    *,
    matvecs: int = 48,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> Estimate:
    r"""The trace of the Hessian by XTrace (Epperly, Tropp and Webber 2024, arXiv:2301.07825).

    Each of k = m/2 random vectors is the residual probe for the sketch that the k - 1 others make:

    .. math::
        \operatorname{Tr} H \approx \frac1k \sum_i \Big( \operatorname{Tr} Q_i^\top H Q_i +
        \frac{P - k + 1}{\lVert r_i\rVert^2}\, r_i^\top H r_i \Big), \qquad r_i = (I - Q_i Q_i^\top)\, v_i

    with :math:`Q_i` a basis of :math:`H v_j, j \ne i`, of the P-dimensional space, and v standard normal, so that
    :math:`r_i` may be rescaled to the length that its direction alone leaves open. With m at least 2 P the trace is
    exact. All :math:`Q_i` come from one QR decomposition.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: where the Hessian is taken.
        matvecs: m, the number of Hessian-vector products, at least 4; more than 2 P are not taken.
        generator: source of randomness; None for the global one.
        of: mode and batch, which the result repeats.

    Returns:
        The estimate, 0-d. Its standard error is the leave-one-out error, that of a mean of k independent terms; the
        terms share their sketches, so it is an approximation.

    Raises:
        ValueError: `matvecs` below 4.

    >>> loss = lambda p: 0.5 * (p["w"].new_tensor([1.0, 2.0, 4.0]) * p["w"].square()).sum()
    >>> print(f"{xtrace(loss, {'w': torch.zeros(3, dtype=torch.float64)}, matvecs=6).value:.6f}")
    7.000000
    """
    check_number("matvecs", matvecs, at_least=4)
    product, count = HessianOperator(objective, parameters).product, min(matvecs // 2, size(parameters))
    probes = torch.stack([flattened(normal_like(parameters, generator)) for _ in range(count)], dim=1)
    images = _images(product, parameters, probes)
    basis, triangle = torch.linalg.qr(images)
    inner = widest(basis.T @ _images(product, parameters, basis))
    moments = Moments()
    for term in _leave_one_out(probes, images, basis, triangle, inner):
        moments.add(term)
    return moments.estimate(replace(of, matrix="Hessian"))


def _leave_one_out(probes: Tensor, images: Tensor, basis: Tensor, triangle: Tensor, inner: Tensor) -> Tensor:
    """The terms of XTrace, [k], from v and Hv as columns [P, k], Hv = QR, and Q'HQ [k, k]."""
    left_out, inside = _left_out(triangle), widest(basis.T @ probes)
    inside = inside - left_out * (left_out * inside).sum(0)  # the part of v_i in the span of Q_i
    form = widest((probes * images).sum(0)) - ((2 * triangle - inner @ inside) * inside).sum(0)
    length = widest(probes.square().sum(0)) - inside.square().sum(0)
    outside = basis.shape[0] - basis.shape[1] + left_out.square().sum(0)
    return inner.trace() - (left_out * (inner @ left_out)).sum(0) + outside * safe_divide(form, length)


def _left_out(triangle: Tensor) -> Tensor:
    """Column i: the unit vector, in terms of Q, that is orthogonal to all columns of R but the i-th.

    Zeros where the columns are linearly dependent: then the others span what all span.
    """
    pivots = triangle.diagonal().abs()
    if pivots.min() <= len(pivots) * torch.finfo(triangle.dtype).eps * pivots.max():
        return torch.zeros_like(widest(triangle))
    dual: Tensor = torch.linalg.inv(widest(triangle)).T
    return dual / dual.square().sum(0).sqrt()


def _images(product: Product, parameters: Parameters, columns: Tensor) -> Tensor:
    """HV of vectors that are the columns of V, [P, k]."""
    images = [flattened(product(unflattened(column, parameters))) for column in columns.unbind(dim=1)]
    return torch.stack(images, dim=1)
