"""The balancers other than GradNorm, against their formulas and against TorchJD's own aggregators."""

import math

import pytest
import torch
from torch import Tensor, nn

from lightning_losses import LossModule, Term
from lightning_losses.balancers import DynamicWeightAverage, Fixed, Gramian, Scalarizer, Uncertainty


def call(criterion: LossModule, *values: float) -> dict[str, float]:
    criterion(**{name: torch.tensor(value) for name, value in zip(criterion.terms, values, strict=True)})
    return {name: float(weight) for name, weight in criterion.report.weights.items()}


def test_fixed_shares_sum_to_one_even_when_a_term_is_absent() -> None:
    criterion = LossModule(
        {"a": Term(weight=3.0), "b": Term(weight=1.0, optional=True)}, balancer=Fixed(normalize=True)
    )
    assert call(criterion, 1.0, 1.0) == {"a": 0.75, "b": 0.25}
    criterion(a=torch.tensor(1.0))
    assert float(criterion.report.weights["a"]) == 0.75


def test_uncertainty_rests_at_the_logarithm_of_the_loss() -> None:
    losses, priors = {"a": 0.1, "b": 4.0}, {"a": 1.0, "b": 3.0}
    criterion = LossModule({n: Term(weight=p) for n, p in priors.items()}, balancer=Uncertainty())
    optimizer = torch.optim.SGD(criterion.parameters(), lr=0.5)
    for _ in range(500):
        optimizer.zero_grad()
        total = criterion(**{n: torch.tensor(v) for n, v in losses.items()})
        total.backward()
        optimizer.step()
    assert criterion.balancer.log_variance.tolist() == pytest.approx([math.log(v) for v in losses.values()], abs=1e-4)
    weights = {n: float(w) for n, w in criterion.report.weights.items()}
    assert weights == pytest.approx({n: priors[n] / (2 * v) for n, v in losses.items()}, rel=1e-3)
    assert total.item() == pytest.approx(sum(priors[n] / 2 * (1 + math.log(v)) for n, v in losses.items()), rel=1e-4)


def test_uncertainty_has_one_parameter_of_one_dimension() -> None:
    criterion = LossModule({"a": Term(), "b": Term()}, balancer=Uncertainty())
    assert {n: tuple(p.shape) for n, p in criterion.named_parameters()} == {"balancer.log_variance": (2,)}


def test_dynamic_weight_average_follows_its_formula() -> None:
    criterion = LossModule(
        {"a": Term(), "b": Term(weight=2.0)}, balancer=DynamicWeightAverage(period=2, temperature=2.0)
    )
    periods = [((4.0, 6.0), (1.0, 1.0)), ((3.0, 1.0), (0.5, 0.7)), ((9.0, 9.0), (9.0, 9.0))]
    for a, b in periods[:2]:
        for values in zip(a, b, strict=True):
            assert call(criterion, *values) == {"a": 1.0, "b": 2.0}
    e = [math.exp(2.0 / 5.0 / 2.0), math.exp(0.6 / 1.0 / 2.0)]
    expected = {"a": 2 * e[0] / sum(e), "b": 2.0 * 2 * e[1] / sum(e)}
    assert call(criterion, 9.0, 9.0) == pytest.approx(expected, rel=1e-6)


def test_dynamic_weight_average_gives_the_slower_term_more() -> None:
    criterion = LossModule({"slow": Term(), "fast": Term()}, balancer=DynamicWeightAverage(period=1))
    for step in range(5):
        weights = call(criterion, 0.99**step, 0.5**step)
    assert weights["slow"] > 1 > weights["fast"]
    assert sum(weights.values()) == pytest.approx(2.0)


def test_dynamic_weight_average_names_a_loss_without_a_ratio() -> None:
    with pytest.raises(ValueError, match="Term 'b' must not be negative"):
        call(LossModule({"a": Term(), "b": Term()}, balancer=DynamicWeightAverage()), 1.0, -1.0)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(5, 7)
        self.heads = nn.ModuleList(nn.Linear(7, 2) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        features = torch.tanh(self.trunk(x))
        return features, {f"t{i}": (head(features) * (i + 1) - i).square().mean() for i, head in enumerate(self.heads)}


@pytest.mark.parametrize("name", ["UPGrad", "MGDA", "PCGrad", "AlignedMTL", "IMTLG", "CAGrad", "NashMTL"])
def test_a_torchjd_method_gives_its_own_aggregation_of_the_true_jacobian(name: str) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation", reason="the extra `torchjd` is not installed")
    if name == "NashMTL":
        pytest.importorskip("ecos", reason="torchjd[nash_mtl] is not installed")
        aggregator = aggregation.NashMTL(n_tasks=3)
        balancer = Gramian(aggregation.NashMTL(n_tasks=3).weighting, takes="matrix")
    elif name == "CAGrad":
        pytest.importorskip("cvxpy", reason="torchjd[cagrad] is not installed")
        aggregator, balancer = aggregation.CAGrad(c=0.5), Gramian(aggregation.CAGradWeighting(c=0.5))
    else:
        aggregator, balancer = getattr(aggregation, name)(), Gramian(getattr(aggregation, f"{name}Weighting")())
    torch.manual_seed(3)
    net = Net()
    _, losses = net(torch.randn(9, 5))
    jacobian = torch.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, net.trunk.parameters(), retain_graph=True)])
            for loss in losses.values()
        ]
    )
    torch.manual_seed(0)  # the step's seed, for the methods that draw
    expected = aggregator(jacobian.double())
    criterion = LossModule({name: Term() for name in losses}, balancer=balancer)
    criterion(**losses, shared=net.trunk).backward()
    found = torch.cat([p.grad.flatten() for p in net.trunk.parameters()])
    torch.testing.assert_close(found, expected.float(), rtol=2e-3, atol=1e-5)


def test_the_gramian_is_of_the_losses_times_the_users_weights() -> None:
    seen: list[Tensor] = []
    balancer = Gramian(lambda g: (seen.append(g), torch.ones(len(g)))[1])
    criterion = LossModule({"a": Term(weight=2.0), "b": Term(weight=3.0)}, balancer=balancer)
    x = torch.tensor([1.0, 0.0], requires_grad=True)
    criterion(a=x.sum(), b=x[0] * 1.0, shared=x)
    torch.testing.assert_close(seen[0], torch.tensor([[8.0, 6.0], [6.0, 9.0]], dtype=torch.float64))


def test_an_absent_term_is_absent_from_the_gramian() -> None:
    shapes: list[tuple[int, ...]] = []
    balancer = Gramian(lambda g: (shapes.append(tuple(g.shape)), g.diagonal())[1])
    criterion = LossModule({n: Term(optional=True) for n in "abc"}, balancer=balancer)
    x = torch.tensor([1.0], requires_grad=True)
    criterion(a=x.sum(), c=2 * x.sum(), shared=x)
    assert shapes == [(2, 2)]
    assert {n: float(w) for n, w in criterion.report.weights.items()} == {"a": 1.0, "c": 4.0}


@pytest.mark.parametrize("takes", ["gramian", "matrix"])
def test_a_method_on_the_matrix_sees_the_same_gramian(takes: str) -> None:
    seen: list[Tensor] = []
    balancer = Gramian(lambda m: (seen.append(m), torch.ones(len(m)))[1], takes=takes)
    criterion = LossModule({n: Term() for n in "ab"}, balancer=balancer)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    criterion(a=x.square().sum(), b=x.sum(), shared=x)
    gramian = seen[0] if takes == "gramian" else seen[0] @ seen[0].T
    torch.testing.assert_close(gramian, torch.tensor([[20.0, 6.0], [6.0, 2.0]], dtype=torch.float64))


def test_random_methods_leave_the_trainings_generator_alone() -> None:
    x = torch.tensor([1.0], requires_grad=True)
    draws = []
    for balancer in (Fixed(), Gramian(lambda g: torch.rand(len(g)))):
        torch.manual_seed(0)
        LossModule({"a": Term()}, balancer=balancer)(a=x.sum(), shared=x)
        draws.append(torch.rand(1))
    assert torch.equal(*draws)


@pytest.mark.parametrize("name", ["GeometricMean", "Mean", "STCH", "UW", "IMTLL"])
def test_a_torchjd_scalarizer_gives_its_own_value_and_gradient(name: str) -> None:
    scalarization = pytest.importorskip("torchjd.scalarization", reason="the extra `torchjd` is not installed")
    arguments = {"STCH": {"mu": 0.5}, "UW": {"shape": (3,)}, "IMTLL": {"shape": (3,)}}.get(name, {})
    cls = getattr(scalarization, name)
    try:
        reference, scalarizer = cls(**arguments), cls(**arguments)
    except TypeError:
        reference, scalarizer = cls(3), cls(3)
    leaf = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    expected = reference(leaf)
    (weights,) = torch.autograd.grad(expected, leaf)
    criterion = LossModule({n: Term() for n in "abc"}, balancer=Scalarizer(scalarizer))
    total = criterion(**dict(zip("abc", leaf.unbind(), strict=True)))
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.stack(list(criterion.report.weights.values())), weights)
    (found,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(found, weights)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: DynamicWeightAverage(period=0), ValueError, "`period` must be at least 1, found 0"),
        (lambda: DynamicWeightAverage(temperature=0), ValueError, "`temperature` must be above 0"),
        (lambda: Gramian(None), TypeError, "`weighting` must be a callable"),
        (lambda: Gramian(len, takes="jacobian"), ValueError, "`takes` must be one of 'gramian', 'matrix'"),
        (lambda: Scalarizer(0.5), TypeError, "`scalarizer` must be a callable"),
    ],
    ids=["period", "temperature", "weighting", "takes", "scalarizer"],
)
def test_bad_hyperparameters(make, error, match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_a_method_that_returns_no_weights_is_told_how_many() -> None:
    x = torch.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="`weighting` must return 2 weights, one a term"):
        LossModule({n: Term() for n in "ab"}, balancer=Gramian(lambda g: g))(a=x.sum(), b=x.sum(), shared=x)
    with pytest.raises(ValueError, match="`scalarizer` must return a scalar tensor"):
        LossModule({"a": Term(), "b": Term()}, balancer=Scalarizer(lambda v: v))(a=x.sum(), b=x.sum())
