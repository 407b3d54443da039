"""The two directions in which a loss surface is looked at, in units that mean something."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_losses.curvature.directions import normal_like
from lightning_losses.curvature.estimate import Direction, Objective, Parameters
from lightning_losses.curvature.lanczos import largest_eigenvalues
from lightning_losses.curvature.products import HessianOperator
from lightning_losses.curvature.surfaces import filter_normalized, trajectory_directions
from lightning_losses.curvature.twice import twice
from lightning_losses.distributed import world_size

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

    At that distance :math:`L + \frac12 \lambda t^2` has doubled. Under DDP those of rank 0's batch. None where the
    Hessian is not finite.
    """
    found = _eigenpairs(objective, parameters, seed) if _is_rank_0() else None
    values = _of_rank_0(torch.tensor(found[0] if found else [torch.nan] * 4), parameters)
    if not values.isfinite().all():
        return None
    eigenvalues, units = values[:2].tolist(), values[2:].tolist()
    vectors = found[1] if found else [{name: torch.empty_like(p) for name, p in parameters.items()} for _ in range(2)]
    first, second = ({name: _of_rank_0(v, parameters) for name, v in vector.items()} for vector in vectors)
    names = [f"eigenvector of {value:.3g} (unit {unit:.2g})" for value, unit in zip(eigenvalues, units, strict=True)]
    return Plane((first, second), (names[0], names[1]), torch.empty(0, 2))


def _eigenpairs(objective: Objective, parameters: Parameters, seed: int) -> tuple[list[float], list[Direction]] | None:
    """Two eigenvalues and their units, and the eigenvectors in these units."""
    start = normal_like(parameters, torch.Generator().manual_seed(seed))
    try:
        hessian = HessianOperator(twice(objective), parameters)
        pairs = largest_eigenvalues(hessian.product, start, count=2, steps=EIGEN_STEPS)
    except FloatingPointError:
        return None
    units = [(2 * float(hessian.loss.abs()) / max(abs(pair.value), 1e-12)) ** 0.5 for pair in pairs]
    vectors: list[Direction] = [
        {name: unit * v for name, v in pair.vector.items()} for unit, pair in zip(units, pairs, strict=True)
    ]
    return [*(pair.value for pair in pairs), *units], vectors


def trajectory_plane(stops: Sequence[Parameters], parameters: Parameters) -> Plane:
    """The plane in which training has moved most; its farthest stop is a little inside of 1."""
    found = trajectory_directions([*stops, {name: p.cpu() for name, p in parameters.items()}])
    unit = MARGIN * float(found.coordinates.abs().max())
    first, second = ({n: unit * v.to(parameters[n]) for n, v in d.items()} for d in found.directions)
    names = [f"trajectory direction {i + 1} ({share:.0%})" for i, share in enumerate(found.shares.tolist())]
    return Plane((first, second), (names[0], names[1]), found.coordinates / unit)


def _is_rank_0() -> bool:
    return world_size() == 1 or dist.get_rank() == 0


def _of_rank_0(tensor: Tensor, like: Parameters) -> Tensor:
    tensor = tensor.to(next(iter(like.values())).device)
    if world_size() > 1:
        dist.broadcast(tensor, src=0)
    return tensor
