"""The density of the eigenvalues by stochastic Lanczos quadrature."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_losses.checks import check_number
from lightning_losses.curvature.directions import rademacher_like
from lightning_losses.curvature.estimate import Estimate, Parameters, Subject
from lightning_losses.curvature.lanczos import lanczos
from lightning_losses.curvature.moments import Moments
from lightning_losses.curvature.products import Product

REACH = 6.0
"""How many widths the grid extends beyond the outermost Ritz values: a normal curve has 1e-9 of its area beyond."""


@dataclass(frozen=True)
class SpectralDensity:
    """The distribution of the eigenvalues of a symmetric matrix.

    Args:
        grid: eigenvalues at equal distances, [N], float64 on the CPU.
        density: at each, with integral 1.
        standard_error: of the density over probes, [N].
        negative_share: the share of negative eigenvalues (the saddle index over the number of parameters), 0-d.
        mean: the mean eigenvalue, which is the trace over the number of parameters, 0-d.
    """

    grid: Tensor
    density: Tensor
    standard_error: Tensor
    negative_share: Estimate
    mean: Estimate


def spectral_density(
    product: Product,
    parameters: Parameters,
    *,
    steps: int = 30,
    probes: int = 8,
    width: float | None = None,
    points: int = 1024,
    generator: torch.Generator | None = None,
    of: Subject = Subject(),  # noqa: B008 (immutable)
) -> SpectralDensity:
    r"""Stochastic Lanczos quadrature (Lin, Saad and Yang 2016, arXiv:1308.5467; Ghorbani et al. 2019).

    .. math::
        \phi(t) = \frac1P \sum_{j=1}^P \mathcal N(t; \lambda_j, \sigma^2) \approx
        \frac1n \sum_{i=1}^n \sum_{k=1}^m w_k^{(i)}\, \mathcal N(t; \theta_k^{(i)}, \sigma^2)

    with :math:`\theta_k^{(i)}` the Ritz values of m Lanczos steps from the i-th random vector and
    :math:`w_k^{(i)}` the squared first components of their vectors. Moments of the spectrum up to degree 2m - 1 are
    unbiased, the mean among them.

    Many eigenvalues of a network are 0 up to rounding: negative are those below
    :math:`-\sqrt\epsilon \max_k |\theta_k|`, :math:`\epsilon` being the precision of the parameters' dtype.

    Args:
        product: the symmetric matrix, for instance ``HessianOperator(objective, parameters).product``.
        parameters: what the vectors look like.
        steps: m. More resolve finer detail; memory is one vector of P entries for each.
        probes: n, the number of random vectors.
        width: :math:`\sigma`, in units of the eigenvalues; None for 1 % of the range of the Ritz values.
        points: N of the grid.
        generator: source of randomness; None for the global one.
        of: matrix, mode and batch, which the results repeat.

    Returns:
        The density. Standard errors are over the probes; what m steps do not resolve is not in them.

    Raises:
        ValueError: `steps`, `probes` or `width` not positive, `points` below 2.

    >>> eigenvalues = torch.tensor([-1.0, 1.0, 1.0, 3.0])
    >>> found = spectral_density(lambda v: {"w": eigenvalues * v["w"]}, {"w": torch.zeros(4)})
    >>> print(found.mean)
    1 ± 0 (Hessian, eval mode, one batch, 8 probes)
    >>> print(f"{found.negative_share.value:.2f}")
    0.25
    """
    check_number("probes", probes, at_least=1)
    check_number("points", points, at_least=2)
    runs = (lanczos(product, rademacher_like(parameters, generator), steps) for _ in range(probes))
    rules = [(ritz.values, ritz.weights) for ritz in runs]  # without their bases, which are large
    every = torch.cat([values for values, _ in rules])
    least, greatest, largest = float(every.min()), float(every.max()), float(every.abs().max())
    sigma = 0.01 * (greatest - least or largest or 1.0) if width is None else check_number("width", width, above=0)
    grid = torch.linspace(least - REACH * sigma, greatest + REACH * sigma, points, dtype=torch.float64)
    below_zero = -largest * max(torch.finfo(p.dtype).eps for p in parameters.values()) ** 0.5
    density, negative, mean = Moments(), Moments(), Moments()
    for values, weights in rules:
        density.add(_normal(grid[:, None] - values, sigma) @ weights)
        negative.add(weights[values < below_zero].sum())
        mean.add(weights @ values)
    return SpectralDensity(grid, density.mean, density.standard_error, negative.estimate(of), mean.estimate(of))


def _normal(distance: Tensor, sigma: float) -> Tensor:
    return torch.exp(-0.5 * (distance / sigma).square()) / (sigma * math.sqrt(2 * math.pi))
