"""The loss around or between parameters: along lines, on planes, and the plane of a trajectory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message
from lightning_losses.curvature.directions import flattened, loss_at, moved, unflattened
from lightning_losses.curvature.estimate import Direction, Objective, Parameters
from lightning_losses.numerics import safe_divide, widest

Progress = Callable[[int, int], None]
"""Called with the number of losses computed and the number of all, after each."""


def filter_normalized(direction: Direction, parameters: Parameters, *, with_1d: bool = False) -> dict[str, Tensor]:
    r"""A direction each of whose filters is as long as the filter of the weights (Li et al. 2018, arXiv:1712.09913).

    .. math::
        d_{ij} \leftarrow \frac{d_{ij}}{\lVert d_{ij} \rVert}\, \lVert w_{ij} \rVert

    with the j-th filter of the i-th tensor: what belongs to one index of the first dimension, that is all weights
    into one output. Without it a network with small weights looks sharp and the same function with large ones flat.

    Args:
        direction: d, such as `normal_like` or an eigenvector.
        parameters: w.
        with_1d: keep biases and the parameters of normalisation layers, each normalised as a whole. By default they
            are 0 in the direction.

    Returns:
        The direction; 0 in filters that are 0 in `direction` or in `parameters`.

    >>> weights = {"weight": torch.tensor([[3.0, 4.0], [0.0, 1.0]]), "bias": torch.ones(2)}
    >>> normalized = filter_normalized({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, weights)
    >>> normalized["weight"].norm(dim=1).round(decimals=4), normalized["bias"]
    (tensor([5., 1.]), tensor([0., 0.]))
    """
    return {name: _filter_normalized(direction[name], p.detach(), with_1d) for name, p in parameters.items()}


def slice_1d(
    objective: Objective, parameters: Parameters, direction: Direction, at: Sequence[float] | Tensor
) -> Tensor:
    r"""The losses :math:`L(\theta + t d)` along a line.

    Args:
        objective: the loss on one fixed batch, 0-d; NaN and infinity are kept.
        parameters: :math:`\theta`; never written to.
        direction: d.
        at: the t, [N].

    Returns:
        [N], float64.

    >>> slice_1d(lambda p: p["w"].square().sum(), {"w": torch.ones(1)}, {"w": torch.ones(1)}, at=[-1, 0, 1])
    tensor([0., 1., 4.], dtype=torch.float64)
    """
    return torch.stack([loss_at(objective, moved(parameters, (direction, float(t)))) for t in at])


def plane_2d(
    objective: Objective,
    parameters: Parameters,
    directions: tuple[Direction, Direction],
    at_x: Sequence[float] | Tensor,
    at_y: Sequence[float] | Tensor,
    progress: Progress | None = None,
) -> Tensor:
    r"""The losses :math:`L(\theta + x d_1 + y d_2)` on a plane.

    Args:
        objective: the loss on one fixed batch, 0-d; NaN and infinity are kept.
        parameters: :math:`\theta`; never written to.
        directions: :math:`d_1` and :math:`d_2`.
        at_x: the x, [X].
        at_y: the y, [Y].
        progress: called with the number of losses computed and the number of all, after each.

    Returns:
        [Y, X], float64: a row for each y, as contour plots take it.

    >>> x, y = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}
    >>> plane_2d(lambda p: p["w"] @ torch.tensor([1.0, 10.0]), {"w": torch.zeros(2)}, (x, y), [0, 1, 2], [0, 1])
    tensor([[ 0.,  1.,  2.],
            [10., 11., 12.]], dtype=torch.float64)
    """
    first, second = directions
    points = [(float(x), float(y)) for y in at_y for x in at_x]
    losses = []
    for x, y in points:
        losses.append(loss_at(objective, moved(parameters, (first, x), (second, y))))
        if progress is not None:
            progress(len(losses), len(points))
    return torch.stack(losses).view(len(at_y), len(at_x))


@dataclass(frozen=True)
class TrajectoryPlane:
    """The directions in which a trajectory moved most.

    Args:
        directions: orthogonal, of norm 1, by name; in order of importance.
        coordinates: of every point along them, relative to the last point, [N, directions].
        shares: of the sum of squared distances to the last point that each direction explains, [directions].
    """

    directions: list[dict[str, Tensor]]
    coordinates: Tensor
    shares: Tensor


def trajectory_directions(points: Sequence[Parameters], count: int = 2) -> TrajectoryPlane:
    r"""Principal directions of a trajectory around its last point (Li et al. 2018, section 7).

    The right singular vectors of the differences :math:`\theta_1 - \theta_N, \dots, \theta_{N-1} - \theta_N`. They are
    not centred at their mean, unlike the components of a usual PCA, so that the plane through the last point is the
    one nearest to all others.

    Args:
        points: the parameters at N moments.
        count: how many directions.

    Raises:
        ValueError: `count` below 1, or not more points than directions.

    >>> points = [{"w": torch.tensor([3.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}, {"w": torch.zeros(2)}]
    >>> trajectory_directions(points).shares
    tensor([0.9000, 0.1000], dtype=torch.float64)
    """
    check_number("count", count, at_least=1)
    if len(points) <= count:
        raise ValueError(message("points", f"at least {count + 1} parameters for {count} directions", len(points)))
    last = flattened(points[-1])
    differences = torch.stack([flattened(point) - last for point in points])
    _, lengths, vectors = torch.linalg.svd(differences, full_matrices=False)
    squares = widest(lengths).square()
    return TrajectoryPlane(
        [unflattened(vector, points[-1]) for vector in vectors[:count]],
        widest(differences @ vectors[:count].T),
        safe_divide(squares[:count], squares.sum()),
    )


def _filter_normalized(direction: Tensor, weights: Tensor, with_1d: bool) -> Tensor:
    if weights.ndim < 2 and not with_1d:
        return torch.zeros_like(weights)
    filters = len(weights) if weights.ndim >= 2 else 1
    d, w = (widest(tensor).reshape(filters, -1) for tensor in (direction, weights))
    ratio = safe_divide(w.square().sum(1), d.square().sum(1)).sqrt()
    return (ratio[:, None] * d).view_as(weights).to(weights.dtype)
