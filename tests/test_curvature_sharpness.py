"""Measures of sharpness: right on closed forms, and blind to rescaling that leaves the function as it is."""

import math
from functools import partial

import pytest
import torch
from curvature_problems import mlp, quadratic, symmetric, vector_of

from lightning_losses.curvature.critical import critical_sharpness
from lightning_losses.curvature.directions import normal_like
from lightning_losses.curvature.lanczos import largest_eigenvalue
from lightning_losses.curvature.products import HessianOperator
from lightning_losses.curvature.sharpness import adaptive_eigenvalue, adaptive_trace, layer_normalized_trace
from lightning_losses.curvature.trace import hutchinson_trace

ALPHA = 10.0
RELU = mlp(torch.relu, id="relu")


def rescaled(parameters, alpha: float = ALPHA) -> dict[str, torch.Tensor]:
    """The same function: ReLU(a x) = a ReLU(x)."""
    factors = {"first.weight": alpha, "first.bias": alpha, "second.weight": 1 / alpha, "second.bias": 1.0}
    return {name: factors[name] * p for name, p in parameters.items()}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rescaling_does_not_change_the_function() -> None:
    torch.testing.assert_close(RELU.outputs(rescaled(RELU.parameters)), RELU.outputs(RELU.parameters))


@pytest.mark.parametrize("measure", [adaptive_trace, layer_normalized_trace])
def test_measures_are_invariant_under_rescaling_for_every_probe(measure) -> None:
    before = measure(RELU.objective, RELU.parameters, probes=3, generator=seeded(0))
    after = measure(RELU.objective, rescaled(RELU.parameters), probes=3, generator=seeded(0))
    torch.testing.assert_close(after.value, before.value, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(after.standard_error, before.standard_error, rtol=1e-10, atol=1e-10)


def test_adaptive_trace_is_invariant_under_rescaling_of_single_units_and_the_layer_normalized_is_not() -> None:
    alpha = torch.tensor([10.0, 1.0, 0.1, 3.0]).double()
    p = dict(RELU.parameters)
    units = p | {
        "first.weight": alpha[:, None] * p["first.weight"],
        "first.bias": alpha * p["first.bias"],
        "second.weight": p["second.weight"] / alpha,
    }
    torch.testing.assert_close(RELU.outputs(units), RELU.outputs(p))
    before, after = (adaptive_trace(RELU.objective, at, probes=3, generator=seeded(0)).value for at in (p, units))
    torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-10)
    before, after = (
        layer_normalized_trace(RELU.objective, at, probes=3, generator=seeded(0)).value for at in (p, units)
    )
    assert after > 2 * before


def test_adaptive_eigenvalue_is_invariant_under_rescaling() -> None:
    start = normal_like(RELU.parameters, seeded(0))
    before, after = (
        adaptive_eigenvalue(RELU.objective, p, start) for p in (RELU.parameters, rescaled(RELU.parameters))
    )
    assert after.value == pytest.approx(before.value, rel=1e-10)
    assert after.residual == pytest.approx(before.residual, rel=1e-8)


def test_trace_and_largest_eigenvalue_are_not_invariant() -> None:
    moved = rescaled(RELU.parameters)
    start = normal_like(RELU.parameters, seeded(0))
    traces = [
        hutchinson_trace(RELU.objective, p, probes=50, generator=seeded(0)).value for p in (RELU.parameters, moved)
    ]
    assert traces[1] > 5 * traces[0]
    eigenvalues = [
        largest_eigenvalue(HessianOperator(RELU.objective, p).product, start, steps=20).value
        for p in (RELU.parameters, moved)
    ]
    assert eigenvalues[1] > 5 * eigenvalues[0]


def test_adaptive_trace_is_the_weighted_diagonal() -> None:
    w = vector_of(RELU.parameters)
    exact = (w.square() * RELU.hessian.diagonal()).sum()
    estimate = adaptive_trace(RELU.objective, RELU.parameters, probes=300, generator=seeded(0))
    assert abs(estimate.value - exact) <= 4 * estimate.standard_error < 0.3 * exact


def test_layer_normalized_trace_weighs_blocks_by_the_norms_of_their_weights() -> None:
    exact, position = 0.0, 0
    for p in RELU.parameters.values():
        block = RELU.hessian[position : position + p.numel(), position : position + p.numel()]
        exact += p.norm() ** 2 * block.trace()
        position += p.numel()
    estimate = layer_normalized_trace(RELU.objective, RELU.parameters, probes=300, generator=seeded(0))
    assert abs(estimate.value - exact) <= 4 * estimate.standard_error < 0.3 * exact


def test_adaptive_eigenvalue_is_that_of_the_scaled_hessian() -> None:
    w = vector_of(RELU.parameters).abs()
    exact = torch.linalg.eigvalsh(w[:, None] * RELU.hessian * w)[-1]
    start = normal_like(RELU.parameters, seeded(0))
    pair = adaptive_eigenvalue(RELU.objective, RELU.parameters, start, steps=len(w))
    assert pair.value == pytest.approx(float(exact), rel=1e-8)


@pytest.mark.parametrize("measure", [adaptive_trace, layer_normalized_trace])
def test_tolerance_and_mode_are_passed_on(measure) -> None:
    estimate = measure(RELU.objective, RELU.parameters, probes=1000, relative_error=0.3, generator=seeded(0))
    assert estimate.standard_error <= 0.3 * estimate.value
    assert estimate.probes < 1000


MATRIX = symmetric(torch.tensor([7.0, 3.0, 1.0, 0.5, -0.2, 0.1]))


@pytest.mark.parametrize("first_step", [1e-4, 0.1, 3.0, 1e3])
@pytest.mark.parametrize("bisections", [0, 2, 30])
def test_critical_sharpness_of_a_quadratic_is_exact_along_the_gradient(first_step, bisections) -> None:
    objective, parameters = quadratic(MATRIX)
    gradient = HessianOperator(objective, parameters).gradient
    g = vector_of(gradient)
    exact = float(g @ MATRIX @ g / (g @ g))
    found = critical_sharpness(objective, parameters, gradient, first_step=first_step, bisections=bisections)
    assert found.value == pytest.approx(exact, rel=1e-9)
    assert found.lower * (1 - 1e-9) <= exact <= found.upper * (1 + 1e-9)
    assert 2 / found.lower - 2 / found.upper <= 2 / found.upper * 2.0**-bisections + 1e-12


def test_critical_sharpness_brackets_the_crossing_of_a_loss_that_is_no_quadratic() -> None:
    problem = mlp()
    gradient = HessianOperator(problem.objective, problem.parameters).gradient
    found = critical_sharpness(problem.objective, problem.parameters, gradient)
    start = problem.objective(problem.parameters)

    def loss(sharpness: float) -> torch.Tensor:
        return problem.objective({n: p - 2 / sharpness * gradient[n] for n, p in problem.parameters.items()})

    assert loss(found.upper) < start <= loss(found.lower)
    assert found.lower <= found.value <= found.upper


def test_critical_sharpness_takes_five_evaluations_from_the_last_step() -> None:
    objective, parameters = quadratic(MATRIX)
    gradient = HessianOperator(objective, parameters).gradient
    last = 2 / critical_sharpness(objective, parameters, gradient).value
    calls = []

    def counted(p):
        calls.append(1)
        return objective(p)

    for first_step in (0.9 * last, 1.1 * last):
        calls.clear()
        assert critical_sharpness(counted, parameters, gradient, first_step=first_step).evaluations == len(calls) == 5


@pytest.mark.parametrize("worse", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_after_a_step_is_no_decrease(worse) -> None:
    def loss(p):
        return torch.where(p["w"] < -1, torch.full_like(p["w"], worse), p["w"]).sum()

    found = critical_sharpness(loss, {"w": torch.zeros(1)}, {"w": torch.ones(1)}, bisections=20)
    assert found.lower <= 2 <= found.upper
    assert found.value == pytest.approx(2, rel=1e-4)


def test_critical_sharpness_without_a_crossing() -> None:
    start, along = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    endless = critical_sharpness(lambda p: p["w"].sum(), start, along)
    assert (endless.value, endless.lower) == (0, 0)
    assert endless.upper < 1e-3
    for nowhere in (lambda p: -p["w"].sum(), lambda p: p["w"].sum() * 0):
        found = critical_sharpness(nowhere, start, along)
        assert (found.value, found.upper) == (math.inf, math.inf)
        assert found.lower > 1e3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"first_step": 0.0}, "`first_step` must be above 0"), ({"bisections": -1}, "`bisections` must be at least 0")],
    ids=["first_step", "bisections"],
)
def test_wrong_arguments_are_named(arguments, text) -> None:
    with pytest.raises(ValueError, match=text):
        critical_sharpness(lambda p: p["w"].sum(), {"w": torch.zeros(1)}, {"w": torch.ones(1)}, **arguments)


def test_a_loss_that_is_not_finite_at_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match="`objective` must be finite at the parameters, found nan"):
        critical_sharpness(lambda p: p["w"].sum() * torch.nan, {"w": torch.zeros(1)}, {"w": torch.ones(1)})


@pytest.mark.parametrize(
    "measure",
    [
        partial(adaptive_trace, probes=2, generator=seeded(0)),
        partial(layer_normalized_trace, probes=2, generator=seeded(0)),
        partial(adaptive_eigenvalue, start=RELU.parameters),
        partial(critical_sharpness, direction=RELU.parameters),
    ],
    ids=["adaptive trace", "layer-normalized trace", "adaptive eigenvalue", "critical"],
)
def test_parameters_and_randomness_are_untouched(measure) -> None:
    parameters = {n: torch.nn.Parameter(p.clone()) for n, p in RELU.parameters.items()}
    state = torch.get_rng_state()
    found = measure(RELU.objective, parameters)
    assert not getattr(found.value, "requires_grad", False)
    for name, p in parameters.items():
        assert torch.equal(p, RELU.parameters[name])
        assert p.grad is None
    assert torch.equal(torch.get_rng_state(), state)
