"""Traces of the Gauss-Newton matrix: exact where they are said to be, unbiased with honest errors elsewhere."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, hessian

from lightning_losses import LossModule, Term, losses
from lightning_losses.curvature.certificate import certify
from lightning_losses.curvature.ggn_trace import GaussNewtonEstimate, GaussNewtonTrace
from lightning_losses.curvature.loss_calls import NoLikelihoodError
from lightning_losses.curvature.residual import residual_trace
from lightning_losses.curvature.trace import hutchinson_trace
from lightning_losses.curvature.twice import differentiable_twice

N, INPUTS, CLASSES = 4, 3, 3
Objective = Callable[[dict[str, Tensor]], Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(*shape: int) -> Tensor:
    return torch.randn(N, *shape, generator=generator(), dtype=torch.float64)


def labels(*shape: int) -> Tensor:
    return torch.randint(CLASSES, (N, *shape), generator=generator())


def mlp(activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, 4), activation(), nn.Linear(4, CLASSES))


class Residual(nn.Module):
    """Convolutions, BatchNorm followed by a ReLU in place, a residual sum, max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3))
        self.head = nn.Linear(12, CLASSES)
        for norm in (self.first[1], self.second[1]):
            norm.running_mean.normal_(generator=generator())
            norm.running_var.uniform_(0.5, 2.0, generator=generator())

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(F.max_pool2d(F.relu(x + self.second(x)), 2).flatten(1))


class Parallel(nn.Module):
    """The same layer in two branches: piecewise linear in each weight all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(INPUTS, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.shared(x)) + F.relu(self.shared(-2 * x)))


class Series(nn.Module):
    """The same weights twice on one path."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(INPUTS, INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(F.relu(self.layer(x)))


class TimeFirst(nn.Module):
    """An LSTM and a linear layer whose first axis is time, as long as the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(INPUTS, 3), nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.transpose(0, 1))[0]).mean(0)


class LanguageModel(nn.Module):
    """Layers see samples, the loss sees tokens, which samples mix."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(CLASSES, 4, padding_idx=0), nn.LayerNorm(4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        ids = (x > 0).sum(2)
        return self.head(self.norm(self.embedding(ids).cumsum(1))).flatten(0, 1)


class Tokens(nn.Module):
    """Rows of the layers are tokens, not samples."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(INPUTS, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.body(x.reshape(-1, INPUTS)))).view(N, 5, CLASSES).transpose(1, 2)


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=4, dropout=0.0, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(8, CLASSES))


class Frozen(nn.Module):
    """With a frozen layer and an unused one."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.unused = mlp(), nn.Linear(2, 2)
        self.net[0].requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...], bool]] = {
    "relu": (mlp, (INPUTS,), (), True),
    "residual, batch norm, max pool": (Residual, (2, 4, 4), (), True),
    "weights shared in parallel": (Parallel, (INPUTS,), (), True),
    "frozen and unused": (Frozen, (INPUTS,), (), True),
    "tokens": (Tokens, (5, INPUTS), (5,), True),
    "language model": (LanguageModel, (5, 2), (5,), False),
    "weights shared in series": (Series, (INPUTS,), (), False),
    "gelu": (partial(mlp, nn.GELU), (INPUTS,), (), False),
    "tanh": (partial(mlp, nn.Tanh), (INPUTS,), (), False),
    "attention": (attention, (2, 4), (), False),
    "lstm, time first": (TimeFirst, (N, INPUTS), (), False),
}
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross entropy": F.cross_entropy,
    "cross entropy, sum": partial(F.cross_entropy, reduction="sum"),
    "cross entropy, weights, ignored, smooth": partial(
        F.cross_entropy, weight=torch.tensor([1.0, 2.0, 0.5]).double(), ignore_index=1, label_smoothing=0.1
    ),
    "soft targets": lambda z, y: F.cross_entropy(z, F.one_hot(y, CLASSES).double() * 0.7 + 0.1),
    "values weighted by hand": lambda z, y: (F.cross_entropy(z, y, reduction="none") * torch.arange(N)).sum() / 7,
    "ours: cross entropy": losses.CrossEntropy(class_weight=[1.0, 2.0, 0.5], ignore_index=1),
    "ours: softmax focal, which is not convex": losses.SoftmaxFocal(gamma=2.0),
    "binary": lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot(y, CLASSES).double()),
    "ours: sigmoid focal": lambda z, y: losses.SigmoidFocal()(z, F.one_hot(y, CLASSES).double()),
    "squared error": lambda z, y: F.mse_loss(z, F.one_hot(y, CLASSES).double()),
    "ours: smooth l1": lambda z, y: losses.SmoothL1(beta=0.5)(z, F.one_hot(y, CLASSES).double()),
    "absolute error, which is not curved": lambda z, y: F.l1_loss(z, F.one_hot(y, CLASSES).double()),
    "nll of a log-softmax": lambda z, y: F.nll_loss(F.log_softmax(z, 1), y, torch.tensor([1.0, 2.0, 0.5]).double()),
    "squared error, target first": lambda z, y: F.mse_loss(F.one_hot(y, CLASSES).double(), z),
    "consistency of two rows": lambda z, y: F.mse_loss(z, z.roll(1, 0)),
    "ours: consistency of two rows": lambda z, y: losses.SmoothL1(beta=2.0)(z, z.roll(1, 0)),
    "a difference": lambda z, y: F.cross_entropy(z, y) - 0.3 * F.mse_loss(z, F.one_hot(y, CLASSES).double()),
}


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y.flatten() if z.ndim == 2 else y)


def problem(
    name: str, loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
) -> tuple[nn.Module, Objective, dict[str, Tensor]]:
    make, shape, label_shape, _ = NETWORKS[name]
    torch.manual_seed(3)
    net, x, y = make().double().eval(), inputs(*shape), labels(*label_shape)
    parameters = {n: p.detach() for n, p in net.named_parameters() if p.requires_grad}
    return net, lambda p: loss(functional_call(net, p, x), y), parameters


def brute_force(
    net: nn.Module, name: str, loss: Callable[[Tensor, Tensor], Tensor], parameters: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Tr J' H_L J of each parameter, from the whole Jacobian."""
    _, shape, label_shape, _ = NETWORKS[name]
    x, y = inputs(*shape), labels(*label_shape)

    def forward(p: dict[str, Tensor]) -> Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return functional_call(net, p, x)

    z = forward(parameters).detach()
    curvature = hessian(lambda z: loss(z, y))(z).reshape(z.numel(), z.numel())
    found = {}
    for one, p in parameters.items():
        leaf = p.clone().requires_grad_()
        outputs = forward(parameters | {one: leaf}).flatten() + 0 * leaf.sum()
        rows = torch.stack([torch.autograd.grad(out, leaf, retain_graph=True)[0].flatten() for out in outputs])
        found[one] = (rows.T @ curvature @ rows).trace()
    return found


def check_columns(found: GaussNewtonEstimate, expected: dict[str, Tensor], parameters: dict[str, Tensor]) -> None:
    normalized = sum(parameters[name].square().sum() * trace for name, trace in expected.items())
    columns = torch.stack([sum(expected.values()), *expected.values(), normalized])
    torch.testing.assert_close(found.value, columns, rtol=1e-10, atol=1e-13)
    assert found.names == ("total", *expected, "layer_normalized")


@pytest.mark.parametrize("loss", LOSSES)
def test_the_exact_trace_is_that_of_the_whole_jacobian_for_every_loss(loss: str) -> None:
    net, objective, parameters = problem("relu", LOSSES[loss])
    expected = brute_force(net, "relu", LOSSES[loss], parameters)
    groups = {name: [name] for name in parameters}
    found = GaussNewtonTrace(net, groups, layer_normalized=True).exact(objective, parameters)
    check_columns(found, expected, parameters)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_exact_trace_is_that_of_the_whole_jacobian_for_every_network(name: str) -> None:
    net, objective, parameters = problem(name)
    expected = brute_force(net, name, cross_entropy, parameters)
    groups = {name: [name] for name in parameters}
    found = GaussNewtonTrace(net, groups, layer_normalized=True).exact(objective, parameters)
    check_columns(found, expected, parameters)


@pytest.mark.parametrize("name", NETWORKS)
def test_probes_are_unbiased_with_the_error_that_they_state(name: str) -> None:
    net, objective, parameters = problem(name)
    tracer = GaussNewtonTrace(net)
    exact = tracer.exact(objective, parameters).value
    found = tracer.estimate(objective, parameters, probes=300, generator=generator())
    assert abs(found.value - exact) <= 4 * found.standard_error
    many = [tracer.estimate(objective, parameters, probes=10, generator=generator(i)) for i in range(30)]
    stated = torch.stack([one.standard_error for one in many]).square().mean().sqrt()
    assert 0.7 < float(torch.stack([one.value for one in many]).std(0) / stated) < 1.4


@pytest.mark.parametrize("name", ["weights shared in parallel", "weights shared in series", "lstm, time first"])
def test_what_has_no_rows_of_samples_is_taken_whole(name: str) -> None:
    net, objective, parameters = problem(name)
    plan = GaussNewtonTrace(net).plan(objective, parameters)
    by_sample = {name for names in plan.layers.values() for name in names.values()}
    expected = {"weights shared in parallel": {"head.weight", "head.bias"}}.get(name, set())
    assert by_sample == expected
    assert set(plan.others) == set(parameters) - expected


@pytest.mark.parametrize("name", ["relu", "residual, batch norm, max pool", "frozen and unused"])
def test_layers_with_rows_of_samples_need_no_weight_gradient(name: str) -> None:
    net, objective, parameters = problem(name)
    assert not [name for name in GaussNewtonTrace(net).plan(objective, parameters).others if "unused" not in name]


def test_batch_statistics_mix_samples_so_that_earlier_layers_are_taken_whole() -> None:
    net, objective, parameters = problem("residual, batch norm, max pool")
    net.train()
    plan = GaussNewtonTrace(net).plan(objective, parameters)
    by_sample = {name for names in plan.layers.values() for name in names.values()}
    assert by_sample == {"head.weight", "head.bias"}
    assert any("batch's own statistics" in reason for reason in plan.certificate.reasons)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_certificate_holds_where_the_traces_are_equal(name: str) -> None:
    net, objective, parameters = problem(name)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        blocks = hessian(objective)(parameters) if "lstm" not in name else None
    certificate = GaussNewtonTrace(net).plan(objective, parameters).certificate
    assert certificate.holds is NETWORKS[name][3]
    assert bool(certificate.reasons) is not certificate.holds
    if blocks is None:
        return
    whole = sum(blocks[n][n].reshape(p.numel(), -1).trace() for n, p in parameters.items())
    ratio = float(GaussNewtonTrace(net).exact(objective, parameters).value[0] / whole)
    assert (abs(ratio - 1) < 1e-6) is certificate.holds


def test_an_unknown_operation_is_no_certificate_and_is_named() -> None:
    w = {"layer.weight": torch.ones(2, 2, requires_grad=True)}
    certificate = certify([torch.linalg.matrix_exp(w["layer.weight"])], w)
    assert certificate.reasons == ("LinalgMatrixExpBackward0 of layer.weight is not piecewise linear",)


def test_samples_tell_the_error_for_the_population() -> None:
    """Over many batches the estimates scatter as much as each of them says."""
    torch.manual_seed(0)
    net = mlp().double()
    parameters = {n: p.detach() for n, p in net.named_parameters()}
    tracer, values, stated = GaussNewtonTrace(net), [], []
    for seed in range(300):
        x = 3 * torch.randn(32, INPUTS, generator=generator(seed), dtype=torch.float64)
        y = torch.randint(CLASSES, (32,), generator=generator(seed))
        found = tracer.estimate(
            lambda p, x=x, y=y: F.cross_entropy(functional_call(net, p, x), y), parameters, generator=generator(seed)
        )
        values.append(found.value)
        stated.append(found.population_error.square())
    ratio = torch.stack(values).std(0) / torch.stack(stated).mean(0).sqrt()
    assert 0.85 < float(ratio) < 1.15


class TwoHeads(nn.Module):
    def __init__(self, kind: float, size: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.kind, self.size = nn.Linear(INPUTS, 4), nn.Linear(4, CLASSES), nn.Linear(4, 2)
        self.criterion = LossModule({
            "kind": Term(losses.CrossEntropy(), weight=kind, inputs=["kind", "label"]),
            "size": Term(losses.MSE(), weight=size, inputs=["size", "extent"]),
        })  # fmt: skip

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        features = F.relu(self.body(x))
        return self.criterion(kind=self.kind(features), label=y, size=self.size(features), extent=x[:, :2])


def test_terms_add_up_and_each_is_that_of_its_loss_alone() -> None:
    def traced(kind: float, size: float, probes: int = 0) -> GaussNewtonEstimate:
        net = TwoHeads(kind, size).double().eval()
        parameters = {n: p.detach() for n, p in net.named_parameters()}
        tracer, objective = GaussNewtonTrace(net), lambda p: functional_call(net, p, (inputs(INPUTS), labels()))
        if not probes:
            return tracer.exact(objective, parameters)
        return tracer.estimate(objective, parameters, probes=probes, by_term=True, generator=generator())

    alone = torch.stack([traced(0.5, 0.0).value[0], traced(0.0, 2.0).value[0]])
    found = traced(0.5, 2.0, probes=400)
    assert found.names == ("total", "term/kind", "term/size")
    torch.testing.assert_close(found.value[1:].sum(), found.value[0])
    assert ((found.value[1:] - alone).abs() <= 4 * found.standard_error[1:] + 1e-12).all()
    torch.testing.assert_close(traced(0.5, 2.0).value[0], alone.sum())


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda z, y, p: F.cross_entropy(z, y) + 0.1 * p["0.weight"].square().sum(), "through PowBackward0"),
        (lambda z, y, p: F.cross_entropy(z, y) + p["0.weight"].sum(), "on a parameter other than through a known loss"),
        (lambda z, y, p: losses.Dice()(z, y), "The loss Dice is no sum over elements"),
        (lambda z, y, p: F.cross_entropy(z, y) * F.mse_loss(z, z.detach() + 1), "through MulBackward0"),
        (lambda z, y, p: F.cross_entropy(z, y).exp(), "through ExpBackward0"),
        (lambda z, y, p: z.square().mean(), "belongs to no known loss"),
        (
            lambda z, y, p: F.cross_entropy(z, z.softmax(1)),
            "The target of the loss cross_entropy depends on parameters",
        ),
        (lambda z, y, p: F.nll_loss(z.sigmoid(), y), "through NllLossBackward0"),
    ],
    ids=[
        "penalty",
        "bare parameter",
        "dice",
        "product of losses",
        "function of a loss",
        "no known loss",
        "target from the network",
        "no log-softmax",
    ],
)
def test_a_loss_that_is_no_sum_of_known_ones_is_refused_with_the_reason(
    loss: Callable[..., Tensor], words: str
) -> None:
    net, _, parameters = problem("relu")
    with pytest.raises(NoLikelihoodError, match=words):
        GaussNewtonTrace(net).estimate(lambda p: loss(functional_call(net, p, inputs(INPUTS)), labels(), p), parameters)


def test_nothing_is_left_behind() -> None:
    net, objective, parameters = problem("residual, batch norm, max pool")
    hooks = [len(module._forward_hooks) for module in net.modules()]
    fired: list[int] = []
    for parameter in net.parameters():
        parameter.register_hook(lambda gradient: fired.append(1))
    state, before = torch.get_rng_state(), {n: t.clone() for n, t in net.state_dict().items()}
    tracer = GaussNewtonTrace(net)
    tracer.estimate(objective, parameters, generator=generator())
    tracer.exact(objective, parameters)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    assert [len(module._forward_hooks) for module in net.modules()] == hooks
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not fired


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "weights shared in series", "attention"])
def test_the_residual_completes_the_hessian(name: str) -> None:
    """Exact in each probe: with the same signs, v'(H - G)v is v'Hv - v'Gv; on average Tr G and it are Tr H."""
    net, objective, parameters = problem(name)

    def twice(p: dict[str, Tensor]) -> Tensor:
        with differentiable_twice():
            return objective(p)

    groups = [[name] for name in parameters]
    blocks = hessian(twice)(parameters)
    whole = torch.stack([blocks[n][n].reshape(p.numel(), -1).trace() for n, p in parameters.items()])
    exact = GaussNewtonTrace(net, {name: [name] for name in parameters}).exact(objective, parameters)
    found = residual_trace(twice, parameters, probes=600, groups=groups, generator=generator())
    assert ((exact.value[1:] + found.value - whole).abs() <= 4 * found.standard_error + 1e-12).all()
    alone = hutchinson_trace(twice, parameters, probes=600, generator=generator())
    rest = residual_trace(twice, parameters, probes=600, generator=generator())
    assert rest.value == pytest.approx(float(found.value.sum()), rel=1e-9, abs=1e-12)
    assert (rest.standard_error < alone.standard_error) or name == "weights shared in series"
