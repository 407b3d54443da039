"""Eigenvalues by Lanczos: right, certified by their residuals, and the largest in the sense of the number line."""

import pytest
import torch
from curvature_problems import PROBLEMS, brute_force_hessian, mlp, quadratic, symmetric, vector_of

from lightning_losses.curvature.density import spectral_density
from lightning_losses.curvature.directions import norm, normal_like
from lightning_losses.curvature.lanczos import lanczos, largest_eigenvalue, largest_eigenvalues, preconditioned
from lightning_losses.curvature.products import HessianOperator
from lightning_losses.curvature.trace import hutchinson_trace

SPREAD = torch.cat([torch.linspace(-3, 3, 30), torch.tensor([6.0, 10.0, -40.0])])


def operator(matrix: torch.Tensor):
    objective, parameters = quadratic(matrix)
    return HessianOperator(objective, parameters).product, parameters


@pytest.mark.parametrize("problem", PROBLEMS)
def test_as_many_steps_as_dimensions_find_all_eigenvalues(problem, generator) -> None:
    product = HessianOperator(problem.objective, problem.parameters).product
    ritz = lanczos(product, normal_like(problem.parameters, generator), steps=len(problem.hessian))
    exact = torch.linalg.eigvalsh(problem.hessian)
    distances = (ritz.values[:, None] - exact).abs()
    assert distances.min(1).values.max() < 1e-8  # every Ritz value is an eigenvalue
    distinct = exact[1:][exact.diff() > 1e-6]
    assert (ritz.values[:, None] - distinct).abs().min(0).values.max() < 1e-8  # and every one is found


def test_basis_stays_orthonormal_when_ritz_values_converge(generator) -> None:
    product, like = operator(symmetric(torch.cat([torch.linspace(0, 1, 60), torch.tensor([100.0, 1e4])])))
    ritz = lanczos(product, normal_like(like, generator), steps=50)
    torch.testing.assert_close(ritz.basis @ ritz.basis.T, torch.eye(50).double(), rtol=0, atol=1e-12)
    assert (ritz.values > 50).sum() == 2  # no ghosts
    torch.testing.assert_close(ritz.weights.sum(), torch.tensor(1.0).double())


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10])
def test_residuals_are_true_and_bound_the_error(steps, generator) -> None:
    matrix = symmetric(SPREAD)
    product, like = operator(matrix)
    ritz = lanczos(product, normal_like(like, generator), steps)
    for index in range(steps):
        pair = ritz.pair(index)
        v = vector_of(pair.vector)
        torch.testing.assert_close(float((matrix @ v - pair.value * v).norm()), pair.residual, rtol=1e-6, atol=1e-10)
        assert (SPREAD.double() - pair.value).abs().min() <= pair.residual + 1e-10
        torch.testing.assert_close(norm(pair.vector), torch.tensor(1.0).double())


def test_largest_is_algebraic_not_absolute(generator) -> None:
    product, like = operator(symmetric(SPREAD))  # -40 is four times 10
    pair = largest_eigenvalue(product, normal_like(like, generator), steps=25)
    assert pair.value == pytest.approx(10, rel=1e-8)
    assert pair.residual < 1e-3


def test_largest_approaches_from_below(generator) -> None:
    product, like = operator(symmetric(SPREAD))
    values = [
        largest_eigenvalue(product, normal_like(like, torch.Generator().manual_seed(0)), s).value for s in range(1, 9)
    ]
    assert values == sorted(values)
    assert values[-1] <= 10 + 1e-10


def test_three_products_follow_a_drifting_matrix_from_the_last_vector(generator) -> None:
    matrix, drift = symmetric(SPREAD.abs()), symmetric(torch.linspace(-0.3, 0.3, len(SPREAD)), seed=1)
    vector = normal_like(operator(matrix)[1], generator)
    for _ in range(3):  # warm up
        vector = largest_eigenvalue(operator(matrix)[0], vector).vector
    for _ in range(20):
        matrix = matrix + drift
        warm = largest_eigenvalue(operator(matrix)[0], vector)
        exact = float(torch.linalg.eigvalsh(matrix)[-1])
        assert warm.value == pytest.approx(exact, rel=1e-3)
        assert abs(warm.value - exact) <= warm.residual
        vector = warm.vector


def test_three_products_a_look_follow_gradient_descent_to_the_edge_of_stability() -> None:
    """Cohen et al. 2021: a tanh network that learns a Chebyshev polynomial; lambda_max rises to 2/lr and stays."""
    lr, x = 0.4, torch.linspace(-1, 1, 20).double()[:, None]
    y = 8 * x**4 - 8 * x**2 + 1
    generator = torch.Generator().manual_seed(0)
    shapes = {"in": (100, 1), "bias": (100, 1), "out": (1, 100)}
    scale = 1.9 * (2 / 101) ** 0.5
    parameters = {n: scale * torch.randn(s, generator=generator).double() for n, s in shapes.items()}
    parameters["bias"].zero_()

    def objective(p):
        return 0.5 * (p["out"] @ torch.tanh(p["in"] @ x.T + p["bias"]) - y.T).square().mean()

    vector, looks = normal_like(parameters, generator), []
    for step in range(3000):
        operator = HessianOperator(objective, parameters)
        if step % 50 == 0:
            pair = largest_eigenvalue(operator.product, vector)
            vector, exact = pair.vector, torch.linalg.eigvalsh(brute_force_hessian(objective, parameters))
            assert (exact - pair.value).abs().min() <= pair.residual + 1e-10
            assert pair.value <= exact[-1] + 1e-10
            looks.append((pair.value, float(exact[-1])))
        parameters = {n: p - lr * operator.gradient[n] for n, p in parameters.items()}
    values, exact = torch.tensor(looks[5:]).double().T
    assert (values / exact - 1).abs().mean() < 0.01
    assert float(values[-15:].mean()) * lr / 2 == pytest.approx(1, abs=0.02)


def test_several_largest_in_descending_order(generator) -> None:
    product, like = operator(symmetric(SPREAD))
    pairs = largest_eigenvalues(product, normal_like(like, generator), count=3, steps=33)
    assert [pair.value for pair in pairs] == pytest.approx([10, 6, 3], rel=1e-8)


def test_an_exhausted_space_ends_the_iteration_with_residuals_of_zero(generator) -> None:
    product, like = operator(symmetric(torch.tensor([5.0] * 4 + [2.0] * 6)))
    ritz = lanczos(product, normal_like(like, generator), steps=8)
    torch.testing.assert_close(ritz.values, torch.tensor([2.0, 5.0]).double())
    assert ritz.residuals.tolist() == [0, 0]
    assert len(largest_eigenvalues(product, normal_like(like, generator), count=4, steps=4)) == 2


def test_names_may_come_in_any_order(generator) -> None:
    problem = mlp()
    product = HessianOperator(problem.objective, problem.parameters).product
    start = normal_like(problem.parameters, generator)
    backwards = dict(reversed(start.items()))
    assert largest_eigenvalue(product, backwards, 5).value == pytest.approx(largest_eigenvalue(product, start, 5).value)


def test_a_matrix_of_zeros(generator) -> None:
    product, like = operator(torch.zeros(5, 5).double())
    pair = largest_eigenvalue(product, normal_like(like, generator))
    assert (pair.value, pair.residual) == (0, 0)


def test_preconditioned_has_the_eigenvalues_of_adams_matrix(generator) -> None:
    matrix = symmetric(SPREAD)
    product, like = operator(matrix)
    denominators = {name: 0.5 + torch.rand(p.shape, generator=generator).double() for name, p in like.items()}
    scaled = preconditioned(product, {name: d.rsqrt() for name, d in denominators.items()})
    pair = largest_eigenvalue(scaled, normal_like(like, generator), steps=33)
    exact = torch.linalg.eigvals(matrix / vector_of(denominators)[:, None]).real.max()
    assert pair.value == pytest.approx(float(exact), rel=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_parameters_give_vectors_of_their_dtype(dtype, generator) -> None:
    start = normal_like({"w": torch.zeros(8, dtype=dtype)}, generator)
    curvature = torch.arange(1.0, 9.0, dtype=dtype)
    pair = largest_eigenvalue(lambda v: {"w": curvature * v["w"]}, start, steps=8)
    assert pair.vector["w"].dtype == dtype
    assert pair.value == pytest.approx(8, rel=1e-5 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p, s: lanczos(p, s, steps=0), "`steps` must be at least 1"),
        (lambda p, s: largest_eigenvalues(p, s, count=3, steps=2), "`steps` must be at least 3"),
        (lambda p, s: largest_eigenvalue(p, {n: 0 * t for n, t in s.items()}), "`start` must be a vector other than 0"),
        (
            lambda p, s: largest_eigenvalue(lambda v: {n: t * torch.nan for n, t in v.items()}, s),
            "`product` must be finite",
        ),
    ],
    ids=["steps", "count", "zero start", "nan"],
)
def test_wrong_arguments_are_named(call, text, generator) -> None:
    product, like = operator(symmetric(SPREAD))
    with pytest.raises((ValueError, FloatingPointError), match=text):
        call(product, normal_like(like, generator))


def test_density_integrates_to_one_and_has_the_mean_of_the_spectrum() -> None:
    problem = mlp()
    product = HessianOperator(problem.objective, problem.parameters).product
    found = spectral_density(
        product, problem.parameters, steps=12, probes=6, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(
        torch.trapezoid(found.density, found.grid), torch.tensor(1.0).double(), rtol=0, atol=1e-6
    )
    mean = torch.trapezoid(found.grid * found.density, found.grid)
    torch.testing.assert_close(mean, found.mean.value, rtol=1e-6, atol=1e-8)
    n = len(problem.hessian)
    trace = hutchinson_trace(
        problem.objective, problem.parameters, probes=6, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(found.mean.value, trace.value / n, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.mean.standard_error, trace.standard_error / n, rtol=1e-10, atol=1e-12)
    assert abs(found.mean.value - problem.hessian.trace() / n) <= 4 * found.mean.standard_error


def test_density_is_the_smoothed_spectrum(generator) -> None:
    matrix = symmetric(SPREAD)
    product, like = operator(matrix)
    found = spectral_density(product, like, steps=33, probes=400, width=1.0, points=200, generator=generator)
    distances = found.grid[:, None] - SPREAD.double()
    exact = torch.exp(-0.5 * distances.square()).mean(1) / (2 * torch.pi) ** 0.5
    error = (found.density - exact).abs()
    assert (error <= 4.5 * found.standard_error + 1e-9).all()
    assert error.max() < 0.02


def test_negative_share_is_the_saddle_index(generator) -> None:
    eigenvalues = torch.cat([torch.full((5,), -2.0), torch.zeros(20), torch.linspace(1, 5, 15)])
    product, like = operator(symmetric(eigenvalues))
    shares = [
        spectral_density(
            product, like, steps=17, probes=20, generator=torch.Generator().manual_seed(seed)
        ).negative_share
        for seed in range(30)
    ]
    values, errors = torch.stack([s.value for s in shares]), torch.stack([s.standard_error for s in shares])
    assert abs(values.mean() - 5 / 40) <= 4 * values.std() / 30**0.5
    assert abs(values.mean() - 5 / 40) < 0.02
    assert 0.7 <= values.std() / errors.square().mean().sqrt() <= 1.4


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_density_of_a_multiple_of_the_identity_is_one_peak(value, generator) -> None:
    product, like = operator(value * torch.eye(6).double())
    found = spectral_density(product, like, generator=generator)
    assert float(found.grid[found.density.argmax()]) == pytest.approx(value, abs=0.01)
    assert float(found.negative_share.value) == pytest.approx(float(value < 0))
    torch.testing.assert_close(
        torch.trapezoid(found.density, found.grid), torch.tensor(1.0).double(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"probes": 0}, "`probes`"), ({"steps": 0}, "`steps`"), ({"points": 1}, "`points`"), ({"width": 0.0}, "`width`")],
    ids=["probes", "steps", "points", "width"],
)
def test_wrong_arguments_of_the_density_are_named(arguments, text) -> None:
    product, like = operator(symmetric(SPREAD))
    with pytest.raises(ValueError, match=f"{text} must be"):
        spectral_density(product, like, **arguments)
