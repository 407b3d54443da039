"""Estimators of the trace, the diagonal and the Frobenius norm: unbiased, with standard errors that tell the truth."""

from functools import partial

import pytest
import torch
from curvature_problems import PROBLEMS, mlp, quadratic, symmetric, vector_of

from lightning_losses.curvature.estimate import Subject
from lightning_losses.curvature.sketched_trace import hutch_plus_plus, xtrace
from lightning_losses.curvature.trace import diagonal, frobenius_norm, hutchinson_trace

DECAYING = symmetric(torch.tensor([30.0, -9.0, 5.0, 2.0, 1.0, -1.0, 0.7, 0.5, 0.3, 0.2, 0.1, -0.1, 0.1, 0.0]))
GROUPS = [["first.weight", "first.bias"], ["second.weight"], ["second.bias"]]

TRACES = [
    pytest.param(partial(hutchinson_trace, probes=200), id="hutchinson"),
    pytest.param(partial(hutch_plus_plus, matvecs=60), id="hutch++"),
    pytest.param(partial(xtrace, matvecs=40), id="xtrace"),
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_traces_are_right_within_their_standard_errors(trace, problem, generator) -> None:
    estimate = trace(problem.objective, problem.parameters, generator=generator)
    error = (estimate.value - problem.hessian.trace()).abs()
    assert error <= 4 * estimate.standard_error + 1e-10


@pytest.mark.parametrize(
    ("trace", "band"),
    [
        pytest.param(partial(hutchinson_trace, probes=20), (0.8, 1.25), id="hutchinson"),
        pytest.param(partial(hutch_plus_plus, matvecs=12), (0.8, 1.25), id="hutch++"),
        pytest.param(partial(xtrace, matvecs=12), (0.8, 1.25), id="xtrace"),
    ],
)
def test_standard_errors_of_traces_are_the_spread_over_repetitions(trace, band) -> None:
    objective, parameters = quadratic(DECAYING)
    estimates = [trace(objective, parameters, generator=seeded(seed)) for seed in range(300)]
    values = torch.stack([e.value for e in estimates])
    reported = torch.stack([e.standard_error for e in estimates]).square().mean().sqrt()
    assert band[0] <= values.std() / reported <= band[1]
    assert abs(values.mean() - DECAYING.trace()) <= 4 * values.std() / 300**0.5


def test_group_traces_are_those_of_the_blocks(generator) -> None:
    problem = mlp()
    blocks = torch.stack([b.trace() for b in blocks_of(problem)])
    estimate = hutchinson_trace(problem.objective, problem.parameters, probes=400, groups=GROUPS, generator=generator)
    assert ((estimate.value - blocks).abs() <= 4 * estimate.standard_error).all()
    assert estimate.value.shape == estimate.standard_error.shape == (3,)


def blocks_of(problem) -> list[torch.Tensor]:
    return [problem.hessian[a:b, a:b] for a, b in ((0, 20), (20, 32), (32, 35))]


def test_group_traces_add_up_to_the_trace_of_the_same_probes() -> None:
    problem = mlp()
    whole = hutchinson_trace(problem.objective, problem.parameters, probes=7, generator=seeded(3))
    parts = hutchinson_trace(problem.objective, problem.parameters, probes=7, groups=GROUPS, generator=seeded(3))
    torch.testing.assert_close(parts.value.sum(), whole.value, rtol=1e-12, atol=1e-12)


def test_scaled_trace_is_that_of_the_scaled_matrix(generator) -> None:
    objective, parameters = quadratic(DECAYING)
    scale = vector_of(parameters)
    estimate = hutchinson_trace(objective, parameters, probes=300, scale=parameters, generator=generator)
    assert abs(estimate.value - (scale.square() * DECAYING.diagonal()).sum()) <= 4 * estimate.standard_error


def test_a_tolerance_stops_when_the_standard_error_is_within_it(generator) -> None:
    objective, parameters = quadratic(DECAYING)
    loose = hutchinson_trace(objective, parameters, probes=5000, relative_error=0.2, generator=generator)
    tight = hutchinson_trace(objective, parameters, probes=5000, relative_error=0.05, generator=generator)
    for estimate, tolerance in ((loose, 0.2), (tight, 0.05)):
        assert estimate.standard_error <= tolerance * estimate.value.abs()
    assert 10 <= loose.probes < tight.probes < 5000


def test_a_tolerance_is_not_believed_before_ten_probes(generator) -> None:
    objective, parameters = quadratic(torch.eye(5).double())  # all probes agree
    assert hutchinson_trace(objective, parameters, relative_error=0.1, generator=generator).probes == 10


def test_a_negative_trace_does_not_stop_early(generator) -> None:
    matrix = -5 * DECAYING  # a signed tolerance would hold at once
    objective, parameters = quadratic(matrix)
    estimate = hutchinson_trace(objective, parameters, probes=5000, relative_error=0.1, generator=generator)
    assert 20 < estimate.probes < 5000
    assert abs(estimate.value - matrix.trace()) <= 4 * estimate.standard_error


def test_a_tolerance_holds_for_every_group() -> None:
    problem = mlp()

    def probes(groups) -> int:
        estimate = hutchinson_trace(
            problem.objective, problem.parameters, probes=3000, groups=groups, relative_error=0.05, generator=seeded(0)
        )
        assert (estimate.standard_error <= 0.05 * estimate.value.abs()).all()
        return estimate.probes

    weight, bias = GROUPS[1:]
    alone = probes([weight]), probes([bias])
    assert min(alone) < max(alone) <= probes([weight, bias]) < 3000


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("trace", [hutch_plus_plus, xtrace])
def test_sketches_are_exact_on_low_rank(trace, rank, generator) -> None:
    matrix = symmetric(torch.cat([torch.tensor([9.0, -4.0, 2.0])[:rank], torch.zeros(20)]))
    estimate = trace(*quadratic(matrix), matvecs=12, generator=generator)
    torch.testing.assert_close(estimate.value, matrix.trace(), rtol=1e-10, atol=1e-10)
    assert estimate.standard_error < 1e-8


@pytest.mark.parametrize(
    ("trace", "matvecs"), [pytest.param(hutch_plus_plus, 45, id="hutch++"), pytest.param(xtrace, 50, id="xtrace")]
)
def test_sketches_are_exact_when_they_span_the_space(trace, matvecs, generator) -> None:
    estimate = trace(*quadratic(DECAYING), matvecs=matvecs, generator=generator)
    torch.testing.assert_close(estimate.value, DECAYING.trace(), rtol=1e-10, atol=1e-10)


def test_xtrace_is_exact_on_a_multiple_of_the_identity(generator) -> None:
    estimate = xtrace(*quadratic(3 * torch.eye(20, dtype=torch.float64)), matvecs=8, generator=generator)
    torch.testing.assert_close(estimate.value, torch.tensor(60.0).double(), rtol=1e-10, atol=1e-10)


def test_sketches_pay_where_few_eigenvalues_dominate() -> None:
    objective, parameters = quadratic(symmetric(100 * 0.5 ** torch.arange(30.0)))

    def spread(trace) -> float:
        return float(torch.stack([trace(objective, parameters, generator=seeded(s)).value for s in range(30)]).std())

    plain = spread(partial(hutchinson_trace, probes=24))
    assert spread(partial(hutch_plus_plus, matvecs=24)) < plain / 10
    assert spread(partial(xtrace, matvecs=24)) < plain / 10


@pytest.mark.parametrize("trace", [hutchinson_trace, hutch_plus_plus, xtrace, frobenius_norm])
def test_a_loss_without_curvature_has_none(trace, generator) -> None:
    estimate = trace(lambda p: p["w"].sum(), {"w": torch.ones(30)}, generator=generator)
    assert (float(estimate.value), float(estimate.standard_error)) == (0, 0)


def test_diagonal_and_the_standard_error_of_every_entry() -> None:
    objective, parameters = quadratic(DECAYING)
    runs = [diagonal(objective, parameters, probes=20, generator=seeded(seed)) for seed in range(300)]
    assert {n: e.value.shape for n, e in runs[0].items()} == {n: p.shape for n, p in parameters.items()}
    values = torch.stack([vector_of({n: e.value for n, e in run.items()}) for run in runs])
    errors = torch.stack([vector_of({n: e.standard_error for n, e in run.items()}) for run in runs])
    assert ((values.mean(0) - DECAYING.diagonal()).abs() <= 4 * values.std(0) / 300**0.5).all()
    ratio = values.std(0) / errors.square().mean(0).sqrt()
    assert ratio.min() >= 0.8
    assert ratio.max() <= 1.25


def test_frobenius_norm_and_its_standard_error() -> None:
    objective, parameters = quadratic(DECAYING)
    estimates = [frobenius_norm(objective, parameters, probes=50, generator=seeded(seed)) for seed in range(300)]
    values = torch.stack([e.value for e in estimates])
    reported = torch.stack([e.standard_error for e in estimates]).square().mean().sqrt()
    assert 0.8 <= values.std() / reported <= 1.25
    assert abs(values.mean() / DECAYING.norm() - 1) < 0.02


def test_results_say_what_they_are_estimates_of() -> None:
    problem = mlp()
    of = Subject(matrix="GGN", mode="train", batch="batch 3")
    expected = Subject(matrix="Hessian", mode="train", batch="batch 3")
    for trace in (hutchinson_trace, hutch_plus_plus, xtrace, frobenius_norm):
        assert trace(problem.objective, problem.parameters, of=of).of == expected
    assert {e.of for e in diagonal(problem.objective, problem.parameters, probes=1, of=of).values()} == {expected}


def test_one_probe_has_an_unknown_error() -> None:
    problem = mlp()
    assert hutchinson_trace(problem.objective, problem.parameters, probes=1).standard_error.isnan()


@pytest.mark.parametrize("trace", TRACES)
def test_a_generator_decides_all_and_spares_the_global_one(trace) -> None:
    problem, state = mlp(), torch.get_rng_state()
    first, second = (trace(problem.objective, problem.parameters, generator=seeded(5)) for _ in range(2))
    assert torch.equal(first.value, second.value)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (partial(hutchinson_trace, probes=0), "`probes` must be at least 1, found 0"),
        (partial(hutchinson_trace, relative_error=-0.1), "`relative_error` must be at least 0"),
        (partial(hutchinson_trace, groups=[["first.wieght"]]), "found 'first.wieght'. Did you mean 'first.weight'?"),
        (partial(hutchinson_trace, groups=[[]]), "`groups` must be sequences of at least one"),
        (partial(hutch_plus_plus, matvecs=5), "`matvecs` must be at least 6, found 5"),
        (partial(xtrace, matvecs=3), "`matvecs` must be at least 4, found 3"),
    ],
    ids=["probes", "relative_error", "misspelt group", "empty group", "hutch++", "xtrace"],
)
def test_wrong_arguments_are_named(call, text) -> None:
    problem = mlp()
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared)
        call(problem.objective, problem.parameters)
    assert text in str(error.value)
