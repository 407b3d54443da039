"""The two directions in which a loss surface is looked at, in units that mean something."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_losses.callbacks.over_ranks import finite_on_all, mean_product
from lightning_losses.curvature.directions import normal_like
from lightning_losses.curvature.estimate import Direction, Objective, Parameters
from lightning_losses.curvature.lanczos import largest_eigenvalues
from lightning_losses.curvature.products import HessianOperator
from lightning_losses.curvature.surfaces import filter_normalized, trajectory_directions
from lightning_losses.curvature.twice import twice
from lightning_losses.distributed import sum_over_ranks, world_size

EIGEN_STEPS = 12
"""Products of the Hessian for two eigenvectors."""
MARGIN = 1.2
"""How much larger than a trajectory its picture is."""


class Plane(NamedTuple):
    """Two directions.

    Args:
        directions: a step of 1 along each is the unit of the picture.
        names: what they are.
        path: where training came from, in these units, [points, 2]; empty if that is not known.
    """

    directions: tuple[Direction, Direction]
    names: tuple[str, str]
    path: Tensor


def random_plane(parameters: Parameters, seed: int) -> Plane:
    """Normal directions with filters as long as those of the weights, the same on all ranks."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (filter_normalized(normal_like(parameters, generator), parameters) for _ in range(2))
    return Plane((first, second), ("random direction 1", "random direction 2"), torch.empty(0, 2))


def eigen_plane(objective: Objective, parameters: Parameters, seed: int) -> Plane | None:
    r"""The eigenvectors of the largest eigenvalues :math:`\lambda`, with :math:`\sqrt{2L/\lambda}` as their unit.

    At that distance :math:`L + \frac12 \lambda t^2` has doubled. L is the mean over the ranks, so that every product is
    sent. None where the Hessian, or the loss of a rank, is not finite.
    """
    start = normal_like(parameters, torch.Generator().manual_seed(seed))
    try:
        hessian = HessianOperator(finite_on_all(twice(objective)), parameters)
        pairs = largest_eigenvalues(mean_product(hessian.product), start, count=2, steps=EIGEN_STEPS)
    except FloatingPointError:
        return None
    loss = float(sum_over_ranks(hessian.loss)) / world_size()
    units = [(2 * abs(loss) / max(abs(pair.value), 1e-12)) ** 0.5 for pair in pairs]
    first, second = ({n: unit * v for n, v in pair.vector.items()} for unit, pair in zip(units, pairs, strict=True))
    names = [f"eigenvector of {pair.value:.3g} (unit {unit:.2g})" for pair, unit in zip(pairs, units, strict=True)]
    return Plane((first, second), (names[0], names[1]), torch.empty(0, 2))


def trajectory_plane(stops: Sequence[Parameters], parameters: Parameters) -> Plane:
    """The plane in which training has moved most; its farthest stop is a little inside of 1."""
    found = trajectory_directions([*stops, {name: p.cpu() for name, p in parameters.items()}])
    unit = MARGIN * float(found.coordinates.abs().max())
    first, second = ({n: unit * v.to(parameters[n]) for n, v in d.items()} for d in found.directions)
    names = [f"trajectory direction {i + 1} ({share:.0%})" for i, share in enumerate(found.shares.tolist())]
    return Plane((first, second), (names[0], names[1]), found.coordinates / unit)
