"""Losses as people write them, and forwards that change from batch to batch: never a wrong matrix without a word."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, Case
from torch import Tensor, nn
from torch.func import functional_call, hessian

from lightning_losses import LossModule, losses
from lightning_losses.curvature.ggn_trace import GaussNewtonTrace
from lightning_losses.curvature.loss_calls import NoLikelihoodError, record_loss_calls
from lightning_losses.curvature.loss_hessian import factors
from lightning_losses.functional import eager_formulas
from lightning_losses.losses.base import ElementwiseLoss

N, CLASSES = 4, 3
LABELS = torch.tensor([0, 2, 1, 1])
WANTED = F.one_hot(LABELS, CLASSES).double()


def logits(*shape: int) -> Tensor:
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def matrix(loss: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """The sum of the outer products of all columns."""
    with record_loss_calls() as calls:
        total = loss(z.requires_grad_())
    found = torch.zeros(z.numel(), z.numel(), dtype=torch.float64)
    for call, slope in calls.coefficients(total):
        for factor in factors(call, slope):
            for column in factor.columns(len(z), apart=True):
                found += factor.sign * column.flatten().outer(column.flatten())
    return found


def added_in_place(z: Tensor) -> Tensor:
    loss = F.cross_entropy(z, LABELS)
    loss += 0.5 * F.mse_loss(z, WANTED)
    return loss


def scaled_in_place(z: Tensor) -> Tensor:
    loss = F.cross_entropy(z, LABELS)
    loss *= 3
    return loss / 2


def outputs_changed_afterwards(z: Tensor) -> Tensor:
    outputs = 2 * z
    loss = F.cross_entropy(outputs, LABELS)
    outputs.detach().zero_()
    return 4 * loss


def list_of_losses(z: Tensor) -> Tensor:
    return sum([F.cross_entropy(z, LABELS) * torch.tensor(0.3), losses.MSE()(z, WANTED)]) / 2  # type: ignore[return-value]


def per_sample(z: Tensor) -> Tensor:
    values = F.cross_entropy(z, LABELS, reduction="none")
    return (values * torch.tensor([1.0, 0.0, 2.0, 1.0])).sum() / 4 + values[LABELS > 0].mean()


def with_a_metric(z: Tensor) -> Tensor:
    with torch.no_grad():
        F.mse_loss(z, WANTED)
    return F.cross_entropy(z, LABELS) + F.l1_loss(z.detach(), WANTED)


WRITTEN: dict[str, Callable[[Tensor], Tensor]] = {
    "one added in place": added_in_place,
    "scaled in place": scaled_in_place,
    "sum of a list": list_of_losses,
    "stack and mean": lambda z: torch.stack([F.cross_entropy(z, LABELS), F.mse_loss(z, WANTED)]).mean(),
    "per sample": per_sample,
    "with a metric": with_a_metric,
    "loss module": LossModule({"a": losses.CrossEntropy(), "b": losses.SoftmaxFocal()}).eval(),
    "nll": lambda z: F.nll_loss(z.log_softmax(1), LABELS, ignore_index=2),
    "nll module": lambda z: nn.NLLLoss(reduction="sum")(nn.LogSoftmax(-1)(z), LABELS),
    "target first": lambda z: F.mse_loss(WANTED, z),
    "huber": lambda z: F.huber_loss(z, WANTED, delta=0.7),
    "poisson": lambda z: F.poisson_nll_loss(z, WANTED),
    "negative": lambda z: -F.cross_entropy(z, LABELS),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_columns_make_the_hessian_however_the_loss_is_written(name: str) -> None:
    given = WRITTEN[name]

    def loss(z: Tensor) -> Tensor:
        return given(z, LABELS) if isinstance(given, LossModule) else given(z)

    z = logits(CLASSES)
    exact = hessian(loss)(z).reshape(z.numel(), z.numel())
    torch.testing.assert_close(matrix(loss, z), exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if isinstance(case.loss(), ElementwiseLoss)])
def test_every_loss_over_elements_has_its_hessian_in_factors(case: Case, generator: torch.Generator) -> None:
    """Also one that was made ``fused``, whose own forward has no second derivative."""
    z, target = case.inputs(generator, N)
    loss = case.loss()
    found = matrix(lambda x: loss(1 * x, target), z.clone())
    with eager_formulas():
        exact = hessian(lambda x: loss(x, target))(z).reshape(z.numel(), -1)
    torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: F.huber_loss(z, z.flip(1)),
        lambda z: losses.MSE()(z.flip(0), z),
        lambda z: F.mse_loss(z.mean(), torch.tensor(0.5).double()),
        lambda z: F.cross_entropy(z[:, :1], 0 * LABELS) + F.cross_entropy(z[0], LABELS[0]),
    ],
    ids=["input and target from one sample", "from two samples", "a single number", "one class, and no batch"],
)
def test_the_exact_trace_of_a_linear_network_is_the_hessians(loss: Callable[[Tensor], Tensor]) -> None:
    net, x = nn.Linear(2, CLASSES, bias=False).double(), logits(2)
    parameters = {"weight": net.weight.detach()}
    found = GaussNewtonTrace(net).exact(lambda p: loss(functional_call(net, p, x)), parameters).value[0]
    exact = hessian(lambda w: loss(x @ w.T))(parameters["weight"]).reshape(6, 6).trace()
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-13)


def test_outputs_that_are_overwritten_afterwards_count_as_they_were() -> None:
    z = logits(CLASSES).requires_grad_()
    with record_loss_calls() as calls:
        total = outputs_changed_afterwards(z)
    ((call, slope),) = calls.coefficients(total)
    (factor,) = factors(call, slope)
    exact = hessian(lambda z: 4 * F.cross_entropy(z, LABELS))(2 * z.detach()).reshape(12, 12)
    columns = [column.flatten() for column in factor.columns(N, apart=True)]
    torch.testing.assert_close(torch.stack(columns).T @ torch.stack(columns), exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_taken_in_float32(dtype: torch.dtype) -> None:
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=dtype)
    z = logits(CLASSES).to(dtype).requires_grad_()
    with record_loss_calls() as calls:
        total = F.cross_entropy(z, LABELS, weight)
    ((call, slope),) = calls.coefficients(total)
    (factor,) = factors(call, slope)
    exact = hessian(lambda z: F.cross_entropy(z, LABELS, weight.float()))(z.detach().float())
    columns = list(factor.columns(N, apart=True))
    assert {column.dtype for column in columns} == {torch.float32}
    trace = sum(column.square().sum() for column in columns)
    torch.testing.assert_close(trace, exact.reshape(12, 12).trace(), rtol=2e-2, atol=0)


class Changing(nn.Module):
    """Used in another way when `self.now` says so."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.second = nn.Linear(3, 3), nn.Linear(3, CLASSES), nn.Linear(3, CLASSES)
        self.now = "as planned"

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.body(x))
        if self.now == "a layer is called twice":
            hidden = F.relu(self.body(hidden + x))
        if self.now == "rows mix":
            hidden = hidden - hidden.mean(0)
        z = self.second(hidden) if self.now == "another head" else self.head(hidden)
        return z + F.linear(x, self.body.weight) if self.now == "a weight is used elsewhere" else z


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("a layer is called twice", N),
        ("a weight is used elsewhere", N),
        ("another head", N),
        ("rows mix", 1),
    ],
)
def test_a_forward_that_changes_is_noticed(change: str, first: int) -> None:
    net = Changing().double()
    x, tracer = logits(3), GaussNewtonTrace(net)
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def objective(p: dict[str, Tensor], rows: int = N) -> Tensor:
        return F.cross_entropy(functional_call(net, p, x[:rows]), LABELS[:rows])

    net.now = "rows mix" if first == 1 else "as planned"
    tracer.plan(lambda p: objective(p, first), parameters)
    net.now = change
    fresh = GaussNewtonTrace(net).exact(objective, parameters)
    found = tracer.exact(objective, parameters)
    torch.testing.assert_close(found.value, fresh.value, rtol=1e-12, atol=0)
    many = tracer.estimate(objective, parameters, probes=400, generator=torch.Generator().manual_seed(0))
    assert ((many.value - fresh.value).abs() <= 4 * many.standard_error).all()


def test_a_penalty_that_starts_later_is_refused_then() -> None:
    net = nn.Linear(3, CLASSES).double()
    x, tracer = logits(3), GaussNewtonTrace(net)
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def objective(p: dict[str, Tensor], penalty: float = 0.0) -> Tensor:
        loss = F.cross_entropy(functional_call(net, p, x), LABELS)
        return loss + penalty * p["weight"].square().sum() if penalty else loss

    tracer.estimate(objective, parameters)
    with pytest.raises(NoLikelihoodError, match="PowBackward0"):
        tracer.estimate(lambda p: objective(p, 0.1), parameters)


def test_a_forward_that_fails_leaves_the_parameters_in_their_place() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, CLASSES)).double()
    x, tracer, own = logits(3), GaussNewtonTrace(net), dict(net.named_parameters())
    tracer.plan(lambda p: F.cross_entropy(functional_call(net, p, x), LABELS), own)
    for failing in (lambda p: functional_call(net, p, x[:, :2]), lambda p: net(x[:, :2])):
        with pytest.raises(RuntimeError, match="shapes"):
            tracer.estimate(lambda p, failing=failing: F.cross_entropy(failing(p), LABELS), own)
        assert all(p is own[name] for name, p in net.named_parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
