"""Losses along lines, on planes and along trajectories."""

import pytest
import torch
from curvature_problems import mlp, vector_of

from lightning_losses.curvature.directions import dot, normal_like
from lightning_losses.curvature.surfaces import filter_normalized, plane_2d, slice_1d, trajectory_directions

PROBLEM = mlp()


def test_every_filter_is_as_long_as_the_filter_of_the_weights(generator) -> None:
    weights = {"conv": torch.randn(5, 3, 2, 2, generator=generator), "linear": torch.randn(4, 6, generator=generator)}
    direction = normal_like(weights, generator)
    found = filter_normalized(direction, weights)
    for name, w in weights.items():
        torch.testing.assert_close(found[name].flatten(1).norm(dim=1), w.flatten(1).norm(dim=1))
        cosine = torch.cosine_similarity(found[name].flatten(1), direction[name].flatten(1))
        torch.testing.assert_close(cosine, torch.ones(len(w)))


def test_biases_and_scales_are_left_out_or_normalized_as_a_whole() -> None:
    weights = {"bias": torch.tensor([3.0, 4.0]), "scale": torch.tensor(2.0)}
    direction = {"bias": torch.tensor([1.0, 0.0]), "scale": torch.tensor(-0.1)}
    left_out = filter_normalized(direction, weights)
    assert {n: t.tolist() for n, t in left_out.items()} == {"bias": [0, 0], "scale": 0}
    kept = filter_normalized(direction, weights, with_1d=True)
    assert {n: t.tolist() for n, t in kept.items()} == {"bias": [5, 0], "scale": -2}


def test_filters_of_zeros_stay_zeros() -> None:
    zero, one = {"w": torch.zeros(1, 2)}, {"w": torch.ones(1, 2)}
    assert filter_normalized(zero, one)["w"].tolist() == filter_normalized(one, zero)["w"].tolist() == [[0, 0]]


def test_filter_normalized_surfaces_do_not_change_when_the_network_is_rescaled(generator) -> None:
    network = mlp(torch.relu)
    factors = {"first.weight": 10.0, "first.bias": 10.0, "second.weight": 0.1, "second.bias": 1.0}
    rescaled = {n: factors[n] * p for n, p in network.parameters.items()}
    direction = normal_like(network.parameters, generator)
    before, after = (
        slice_1d(network.objective, p, filter_normalized(direction, p), torch.linspace(-1, 1, 5))
        for p in (network.parameters, rescaled)
    )
    torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-10)


def test_slices_and_planes_are_the_losses_at_their_points(generator) -> None:
    x, y = (normal_like(PROBLEM.parameters, generator) for _ in range(2))
    at_x, at_y = torch.linspace(-1, 1, 3), [0.0, 0.5]

    def loss(a: float, b: float) -> torch.Tensor:
        return PROBLEM.objective({n: p + a * x[n] + b * y[n] for n, p in PROBLEM.parameters.items()})

    expected = torch.stack([torch.stack([loss(float(a), b) for a in at_x]) for b in at_y])
    plane = plane_2d(PROBLEM.objective, PROBLEM.parameters, (x, y), at_x, at_y)
    torch.testing.assert_close(plane, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        slice_1d(PROBLEM.objective, PROBLEM.parameters, x, at_x), plane[0], rtol=1e-12, atol=1e-12
    )


def test_surfaces_keep_what_is_not_finite() -> None:
    along = slice_1d(lambda p: p["w"].log().sum(), {"w": torch.zeros(1)}, {"w": torch.ones(1)}, [-1.0, 0.0, 1.0])
    torch.testing.assert_close(along, torch.tensor([torch.nan, -torch.inf, 0.0]).double(), equal_nan=True)


def test_progress_is_reported_after_each_point() -> None:
    seen = []
    directions = (PROBLEM.parameters, PROBLEM.parameters)
    plane_2d(PROBLEM.objective, PROBLEM.parameters, directions, [0, 1, 2], [0, 1], progress=lambda *a: seen.append(a))
    assert seen == [(done, 6) for done in range(1, 7)]


def test_surfaces_build_no_graph_and_never_write_to_the_parameters() -> None:
    parameters = {n: torch.nn.Parameter(p.clone()) for n, p in PROBLEM.parameters.items()}
    versions = [p._version for p in parameters.values()]
    recorded, outside = [], torch.nn.Parameter(torch.ones(()).double())

    def objective(p):
        loss = outside * PROBLEM.objective(p)
        recorded.append(loss.requires_grad)
        return loss

    surface = plane_2d(objective, parameters, (parameters, parameters), [0.0, 1.0], [1.0])
    assert recorded == [False, False]
    assert not surface.requires_grad
    assert [p._version for p in parameters.values()] == versions
    assert all(torch.equal(p, PROBLEM.parameters[n]) for n, p in parameters.items())


def test_trajectory_directions_span_the_plane_of_a_planar_trajectory(generator) -> None:
    last, x, y = (normal_like(PROBLEM.parameters, generator) for _ in range(3))
    steps = torch.randn(6, 2, generator=generator).double()
    points = [{n: p + float(a) * x[n] + float(b) * y[n] for n, p in last.items()} for a, b in steps] + [last]
    found = trajectory_directions(points)

    gram = torch.stack([torch.stack([dot(a, b) for b in found.directions]) for a in found.directions])
    torch.testing.assert_close(gram, torch.eye(2).double())
    assert found.shares[0] >= found.shares[1]
    assert float(found.shares.sum()) == pytest.approx(1)
    assert found.coordinates.shape == (7, 2)
    for point, (a, b) in zip(points, found.coordinates, strict=True):
        back = vector_of({n: p + a * found.directions[0][n] + b * found.directions[1][n] for n, p in last.items()})
        torch.testing.assert_close(back, vector_of(point))


def test_trajectory_directions_are_the_principal_ones(generator) -> None:
    points = [normal_like(PROBLEM.parameters, generator) for _ in range(8)]
    differences = torch.stack([vector_of(p) - vector_of(points[-1]) for p in points])
    values, vectors = torch.linalg.eigh(differences.T @ differences)
    found = trajectory_directions(points, count=3)
    torch.testing.assert_close(found.shares, (values / values.sum()).flip(0)[:3])
    for rank, direction in enumerate(found.directions):
        cosine = vector_of(direction) @ vectors[:, -1 - rank]
        torch.testing.assert_close(cosine.abs(), torch.tensor(1.0).double())


def test_a_trajectory_along_a_line_has_one_direction_and_a_second_that_explains_nothing() -> None:
    points = [{"w": torch.tensor([t, 2 * t, 0.0])} for t in (3.0, 2.0, 1.0, 0.0)]
    found = trajectory_directions(points)
    torch.testing.assert_close(found.shares, torch.tensor([1.0, 0.0]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(dot(found.directions[1], found.directions[1]), torch.tensor(1.0).double())


def test_too_few_points_are_named() -> None:
    with pytest.raises(ValueError, match="`points` must be at least 3 parameters for 2 directions, found 2"):
        trajectory_directions([PROBLEM.parameters] * 2)
