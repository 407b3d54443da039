"""The diagonal of the Fisher information is what a loop over samples, classes and nothing else gives."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from parity.ranks import on_ranks
from torch import Tensor, nn

from lightning_losses.fisher import Categorical, Gaussian, diagonal_fisher, layer_sums, output_sensitivity
from lightning_losses.fisher.by_layer import separate_layers
from lightning_losses.fisher.predictor import Predictor

SAMPLES, CLASSES = 5, 3
EXACT = {"rtol": 1e-12, "atol": 1e-14}


class Sequences(nn.Module):
    """Tokens through a recurrent layer or attention."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.embedding, self.middle, self.head = nn.Embedding(7, 4, padding_idx=0), middle, nn.Linear(4, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.middle(self.embedding(ids))
        return self.head(hidden[0] if isinstance(hidden, tuple) else hidden).mean(1)


class TimeFirst(Sequences):
    """The same with time before batch: rows of its layers are no samples."""

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.middle(self.embedding(ids.T))[0][-1])


class Tied(nn.Module):
    """One weight as a layer's and as a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x))))) + (x @ self.first.weight)[:, :CLASSES]


class Recurring(nn.Module):
    """One layer called twice, and another never."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused, self.head = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, CLASSES)
        self.shift = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(x + self.shift)))))


class Residual(nn.Module):
    """In-place operations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu_()
        after = self.second(hidden)
        after += hidden
        return self.head(after.relu_().mean((2, 3)))


def frozen() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    net[0].requires_grad_(False)
    net[2].bias.requires_grad_(False)
    return net


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, groups=2, dilation=2, padding=2, padding_mode="reflect"),
        nn.GroupNorm(3, 6),
        nn.SiLU(),
        nn.Conv2d(6, 6, (2, 1), groups=6, bias=False),
        nn.InstanceNorm2d(6, affine=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(24, CLASSES),
    )


def vectors(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(SAMPLES, *(shape or (4,)))


def tokens() -> Tensor:
    return torch.randint(7, (SAMPLES, 6))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, CLASSES, bias=False)), vectors()),
    "norms of vectors": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.BatchNorm1d(6), nn.RMSNorm(6), nn.Linear(6, CLASSES)),
        vectors(),
    ),
    "convolutions": (convolutions, vectors(2, 9, 8)),
    "convolution of sequences": (
        lambda: nn.Sequential(nn.Conv1d(2, 4, 3, padding="same"), nn.Tanh(), nn.Conv1d(4, CLASSES, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        vectors(2, 9),
    ),
    "transposed convolution": (
        lambda: nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(27, CLASSES)),
        vectors(2, 2, 2),
    ),
    "in place": (Residual, vectors(2, 4, 4)),
    "tokens": (lambda: Sequences(nn.LayerNorm((6, 4))), tokens),
    "attention": (lambda: Sequences(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)), tokens),
    "lstm": (lambda: Sequences(nn.LSTM(4, 4, batch_first=True)), tokens),
    "lstm, time first": (lambda: TimeFirst(nn.LSTM(4, 4)), tokens),
    "sparse embedding": (lambda: nn.Sequential(nn.Embedding(7, 4, sparse=True), nn.Flatten(), nn.Linear(24, CLASSES)), tokens),
    "bag": (lambda: nn.Sequential(nn.EmbeddingBag(7, 4), nn.Linear(4, CLASSES)), tokens),
    "tied": (Tied, vectors()),
    "twice and never": (Recurring, vectors()),
    "frozen": (frozen, vectors()),
    "parametrised": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, CLASSES)),
        vectors(),
    ),
    "weight norm by hooks": (lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, CLASSES)), vectors()),
    "pixels": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, CLASSES, 1)), vectors(2, 2, 3)),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def problem(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, Tensor]:
    return make_problem(request.param)


def make_problem(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in float64 that has seen data, inputs and targets."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        make_network, make_input = NETWORKS[name]
        network, x = make_network(), make_input()
        with torch.no_grad():
            outputs = network(x)
    finally:
        torch.set_default_dtype(torch.float32)
    return network, x, torch.randint(CLASSES, outputs[:, 0].shape)


def score_gradients(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The gradient of log p(y | x) of one sample, from a forward and a backward of its own."""
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    value = -nn.functional.cross_entropy(network(x[None]), y[None], reduction="sum")
    gradients = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
    dense = [g.to_dense() if g.is_sparse else g for g in gradients]
    return dict(zip(parameters, dense, strict=True))


def by_loops(network: nn.Module, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
    """The mean over samples of the squares, for the given labels or for all, weighted by their probability."""
    network.eval()
    total = {name: torch.zeros_like(p) for name, p in network.named_parameters() if p.requires_grad}
    for n, sample in enumerate(x):
        chances = network(sample[None]).softmax(1)[0].detach()
        labels = [torch.tensor(c) for c in range(CLASSES)] if y is None else [y[n]]
        for label in labels:
            weight = chances[label] if y is None else 1.0
            for name, gradient in score_gradients(network, sample, label).items():
                total[name] += weight * gradient.square() / len(x)
    return total


def of_pixels_by_loops(network: nn.Module, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
    """Over all labellings of a sample's pixels, each of which has its own probability."""
    total = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for n, sample in enumerate(x):
        likelihood = network(sample[None]).log_softmax(1)[0].detach().flatten(1)
        pixels = likelihood.shape[1]
        every = torch.cartesian_prod(*[torch.arange(CLASSES)] * pixels) if y is None else y[n].flatten()[None]
        for labels in every:
            weight = likelihood[labels, torch.arange(pixels)].sum().exp() if y is None else 1.0
            for name, gradient in score_gradients(network, sample, labels.view(sample.shape[1:])).items():
                total[name] += weight * gradient.square() / len(x)
    return total


@pytest.mark.parametrize("estimator", ["exact", "empirical"])
def test_it_is_the_double_loop_over_batches_of_one(problem, estimator: str) -> None:
    network, x, y = problem
    loop = by_loops if y.ndim == 1 else of_pixels_by_loops
    if y.ndim > 1:
        x, y = x[:1, :, :, :2], y[:1, :, :2]
    expected = loop(network, x, y if estimator == "empirical" else None)
    found = diagonal_fisher(network, [(x, y)], estimator=estimator)
    torch.testing.assert_close(found, expected, **EXACT)
    assert any(total.any() for total in found.values())


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("mlp", "all"),
        ("norms of vectors", "all"),
        ("in place", "all"),
        ("pixels", "all"),
        ("tied", ["first", "second", "head"]),
        ("convolutions", ["0", "1", "3", "4", "6", "11"]),
        ("lstm", ["embedding", "head"]),
        ("lstm, time first", ["head"]),
        ("attention", ["embedding", "middle.linear1", "middle.linear2", "middle.norm1", "middle.norm2", "head"]),
    ],
)
def test_layers_with_a_formula_form_no_gradient(name: str, layers: list[str] | str) -> None:
    network, x, _ = make_problem(name)
    network.eval()
    found = separate_layers(Predictor(network, None), dict(network.named_parameters()), x)
    paths = {path for path, layer in network.named_modules() if layer in found}
    assert paths == (
        {path for path, layer in network.named_modules() if layer._parameters} if layers == "all" else {*layers}
    )


@pytest.mark.parametrize("name", ["convolutions", "attention", "lstm", "tied"])
def test_how_the_samples_are_batched_makes_no_difference(name: str) -> None:
    network, x, y = make_problem(name)
    whole = diagonal_fisher(network, [(x, y)])
    for sizes in ([1, 4], [3, 2], [1] * 5):
        split = list(zip(x.split(sizes), y.split(sizes), strict=True))
        torch.testing.assert_close(diagonal_fisher(network, split), whole, **EXACT)


class Changing(nn.Module):
    """Calls a layer twice, or uses its weight otherwise, where an input says so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.layer(x))
        if x.min() > 1:
            hidden = self.layer(hidden)
        if x.max() < -1:
            hidden = hidden @ self.layer.weight
        return self.head(hidden)


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_a_network_that_changes_its_ways_is_noticed(shift: float) -> None:
    torch.manual_seed(0)
    network = Changing().double()
    plain = torch.randn(4, 4, dtype=torch.float64)
    other = plain / 10 + shift
    expected = by_loops(network, torch.cat([plain, other]), None)
    torch.testing.assert_close(diagonal_fisher(network, [(plain, None), (other, None)]), expected, **EXACT)


@pytest.mark.parametrize("name", ["mlp", "convolutions", "attention"])
def test_sampled_converges_to_exact(name: str, generator: torch.Generator) -> None:
    network, x, _ = make_problem(name)
    exact = diagonal_fisher(network, [(x, None)])
    runs = [diagonal_fisher(network, [(x, None)], estimator="sampled", generator=generator) for _ in range(100)]
    for parameter, value in exact.items():
        totals = torch.stack([run[parameter].sum() for run in runs])
        assert (totals.mean() - value.sum()).abs() < 3 * totals.std() / math.sqrt(len(runs)), parameter


def test_empirical_of_a_network_whose_probabilities_are_right_is_exact() -> None:
    """Targets in exactly the predicted proportions: probabilities 1/4 and 3/4, four samples of each input."""
    network = nn.Linear(2, 2).double()
    nn.init.zeros_(network.weight)
    network.bias.data = torch.tensor([0.0, math.log(3)], dtype=torch.float64)
    x = torch.randn(3, 2, dtype=torch.float64).repeat_interleave(4, 0)
    y = torch.tensor([0, 1, 1, 1]).repeat(3)
    empirical = diagonal_fisher(network, [(x, y)], estimator="empirical")
    torch.testing.assert_close(empirical, diagonal_fisher(network, [(x, None)]), **EXACT)


def test_exact_is_the_closed_form_of_logistic_regression() -> None:
    torch.manual_seed(0)
    network, x = nn.Linear(3, 2).double(), torch.randn(7, 3, dtype=torch.float64)
    p = network(x).softmax(1)[:, 0].detach()
    expected = (p * (1 - p)) @ x.square() / len(x)
    torch.testing.assert_close(diagonal_fisher(network, [(x, None)])["weight"], expected.expand(2, 3), **EXACT)


def test_batched_squares_the_mean_gradient_and_warns() -> None:
    network, x, y = make_problem("mlp")
    gradients = [score_gradients(network, *pair) for pair in zip(x, y, strict=True)]
    mean = torch.stack([gradient["0.weight"] for gradient in gradients]).mean(0)
    with pytest.warns(UserWarning, match="squares the mean of a batch's gradients.*1/B.*Use 'exact'"):
        found = diagonal_fisher(network, [(x, y), (x, y)], estimator="batched")
    torch.testing.assert_close(found["0.weight"], mean.square(), **EXACT)
    alone = list(zip(x.split(1), y.split(1), strict=True))
    with pytest.warns(UserWarning, match="batched"):
        found = diagonal_fisher(network, alone, estimator="batched")
    torch.testing.assert_close(found, diagonal_fisher(network, alone, estimator="empirical"), **EXACT)


def test_batched_shrinks_with_the_size_of_the_batch() -> None:
    torch.manual_seed(0)
    network, x = nn.Linear(3, 2).double(), torch.randn(4096, 3, dtype=torch.float64)
    y = network(x).softmax(1).multinomial(1).squeeze(1)
    exact = diagonal_fisher(network, [(x, None)])["weight"].sum()
    for size in (16, 64):
        batches = list(zip(x.split(size), y.split(size), strict=True))
        with pytest.warns(UserWarning, match="batched"):
            found = diagonal_fisher(network, batches, estimator="batched")["weight"].sum()
        assert size * found / exact == pytest.approx(1, rel=0.35)


@pytest.mark.parametrize("name", ["mlp", "convolutions", "lstm", "pixels"])
def test_gaussian_outputs(name: str) -> None:
    """The mean of squared Jacobians over the variance; with the residuals in their place for given targets."""
    network, x, _ = make_problem(name)
    network.eval()
    target = torch.randn_like(network(x)).detach()
    exact, empirical = ({n: torch.zeros_like(p) for n, p in network.named_parameters()} for _ in range(2))
    for n, sample in enumerate(x):
        outputs = network(sample[None]).flatten()
        residual = target[n].flatten() - outputs.detach()
        rows = [torch.autograd.grad(o, [*network.parameters()], retain_graph=True) for o in outputs]
        for i, key in enumerate(exact):
            jacobian = torch.stack([row[i] for row in rows])
            exact[key] += jacobian.square().sum(0) / 4 / len(x)
            empirical[key] += (torch.tensordot(residual, jacobian, 1) / 4).square() / len(x)
    likelihood = Gaussian(variance=4.0)
    torch.testing.assert_close(diagonal_fisher(network, [(x, None)], likelihood=likelihood), exact, **EXACT)
    found = diagonal_fisher(network, [(x, target)], likelihood=likelihood, estimator="empirical")
    torch.testing.assert_close(found, empirical, **EXACT)


@pytest.mark.parametrize("likelihood", [Gaussian(variance=0.5), Categorical()], ids=["Gaussian", "Categorical"])
def test_the_score_is_the_derivative_and_draws_have_its_moments(likelihood, generator: torch.Generator) -> None:
    """The mean score is 0, and its outer product the columns'."""
    z = torch.randn(1, CLASSES, generator=generator, dtype=torch.float64)
    many = z.expand(20_000, -1)
    scores = likelihood.score(many, likelihood.draw(many, generator))
    columns = torch.cat(list(likelihood.columns(z)))
    assert scores.mean(0).abs().max() < 4 * scores.std() / math.sqrt(len(many))
    torch.testing.assert_close(scores.T @ scores / len(many), columns.T @ columns, rtol=0.05, atol=0.03)


def test_sensitivity_is_the_mean_absolute_gradient(problem) -> None:
    network, x, _ = problem
    network.eval()
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    expected = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for sample in x:
        size = network(sample[None]).square().sum()
        gradients = torch.autograd.grad(size, list(parameters.values()), materialize_grads=True)
        for total, gradient in zip(expected.values(), gradients, strict=True):
            total += (gradient.to_dense() if gradient.is_sparse else gradient).abs() / len(x)
    torch.testing.assert_close(output_sensitivity(network, [(x, None)]), expected, **EXACT)


@pytest.mark.parametrize("name", ["convolutions", "lstm"])
@pytest.mark.parametrize("estimator", ["exact", "sampled", "empirical"])
def test_it_leaves_no_trace(name: str, estimator: str) -> None:
    network, x, y = make_problem(name)
    network.train()
    last = [*network.modules()][-1]
    last.eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    modes, state = [module.training for module in network.modules()], torch.get_rng_state()
    found = diagonal_fisher(network, [(x, y)], estimator=estimator)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in network.modules()] == modes
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert all(p.grad is None and not p._backward_hooks for p in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not any(total.requires_grad for total in found.values())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(diagonal_fisher(network, [(x, y)], estimator=estimator), found, rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(diagonal_fisher(network, [(x, y)], estimator=estimator), found, rtol=0, atol=0)


def test_modes_are_put_back_after_an_error() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Linear(4, 3))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        diagonal_fisher(network, [(torch.ones(2, 5), None)])
    assert network.training
    assert not network[1]._forward_hooks


def test_it_is_in_float32_for_a_network_in_half_precision() -> None:
    network, x, _ = make_problem("tied")
    exact = diagonal_fisher(network, [(x, None)])
    found = diagonal_fisher(network.bfloat16(), [(x.bfloat16(), None)])
    assert {total.dtype for total in found.values()} == {torch.float32}
    torch.testing.assert_close({n: t.double() for n, t in found.items()}, exact, rtol=0.2, atol=1e-3)


def test_a_compiled_network_gives_the_same() -> None:
    network, x, _ = make_problem("mlp")
    found = diagonal_fisher(torch.compile(network), [(x, None)])
    exact = diagonal_fisher(network, [(x, None)])
    torch.testing.assert_close({name.removeprefix("_orig_mod."): total for name, total in found.items()}, exact)


def test_some_parameters_and_one_head_of_several() -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict({"body": nn.Linear(4, 5), "a": nn.Linear(5, 2), "b": nn.Linear(5, 3)}).double()
    inputs = {"x": torch.randn(6, 4).double(), "nested": [torch.randn(6, 4).double(), "a name"]}
    found = diagonal_fisher(
        network,
        [(inputs, None)],
        parameters=["body.weight", "a.weight", "b.bias"],
        predict=lambda given: network["b"](torch.tanh(network["body"](given["x"] + given["nested"][0]))),
    )
    plain = nn.Sequential(network["body"], nn.Tanh(), network["b"])
    expected = by_loops(plain, inputs["x"] + inputs["nested"][0], None)
    assert list(found) == ["body.weight", "a.weight", "b.bias"]
    torch.testing.assert_close(found["body.weight"], expected["0.weight"], **EXACT)
    torch.testing.assert_close(found["b.bias"], expected["2.bias"], **EXACT)
    assert not found["a.weight"].any()


def test_draws_are_those_of_the_generator() -> None:
    network, x, _ = make_problem("mlp")

    def sampled(generator: torch.Generator | None) -> Tensor:
        return diagonal_fisher(network, [(x, None), (x, None)], estimator="sampled", generator=generator)["0.weight"]

    one, same, other = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    assert torch.equal(sampled(one), sampled(same))
    assert not torch.equal(sampled(other), sampled(same))
    assert torch.equal(sampled(None), sampled(None))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"estimator": "extact"}, ValueError, "`estimator` must be one of 'exact', 'sampled', 'empirical', 'batched'"),
        ({"batches": []}, ValueError, "`batches` must be at least one batch with a sample"),
        ({"batches": [(torch.ones(2, 4), None)], "estimator": "empirical"}, ValueError, "`targets` must be a tensor"),
        ({"batches": [(torch.ones(2, 4), torch.tensor([0, 3]))], "estimator": "empirical"}, ValueError, r"0\.\.2.*0\.\.3"),
        ({"parameters": ["wieght"]}, ValueError, "found 'wieght'. Did you mean 'weight'"),
        ({"predict": lambda x: x.sum()}, ValueError, r"returns outputs \[N, ...\]"),
        ({"predict": lambda x: x}, ValueError, "depend on no parameter"),
        ({"network": nn.Linear(4, 3).requires_grad_(False)}, ValueError, "parameters that require a gradient.*Linear"),
        ({"network": nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))}, ValueError, "does not mix the samples of a batch, found '1: BatchNorm without"),
    ],
)  # fmt: skip
def test_bad_input_is_named(options: dict, error: type[Exception], message: str) -> None:
    call = {"network": nn.Linear(4, 3), "batches": [(torch.ones(2, 4), None)]} | options
    with pytest.raises(error, match=message):
        diagonal_fisher(call.pop("network"), call.pop("batches"), **call)


RANKED = ["convolutions", "lstm"]


def on_a_rank(rank: int, folder: Path) -> dict:
    """The first rank has three of the five samples, the second two in as many batches."""
    dist.init_process_group("gloo", rank=rank, world_size=2)
    found = {}
    for name in RANKED:
        network, x, y = make_problem(name)
        mine = [(x[:3], y[:3])] if rank == 0 else list(zip(x[3:].split(1), y[3:].split(1), strict=True))
        for estimator in ("exact", "empirical"):
            found[name, estimator] = diagonal_fisher(network, mine, estimator=estimator)
        found[name, "none here"] = diagonal_fisher(network, mine if rank == 0 else [])
    return found


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return on_ranks(on_a_rank, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", RANKED)
def test_two_ranks_are_one_process(name: str, of_ranks: list[dict]) -> None:
    network, x, y = make_problem(name)
    for found in of_ranks:
        for estimator in ("exact", "empirical"):
            expected = diagonal_fisher(network, [(x, y)], estimator=estimator)
            torch.testing.assert_close(found[name, estimator], expected, **EXACT)
        torch.testing.assert_close(found[name, "none here"], diagonal_fisher(network, [(x[:3], None)]), **EXACT)


def test_a_layer_without_a_bias_has_none() -> None:
    assert list(layer_sums(nn.Linear(2, 1, bias=False), torch.ones(3, 2), torch.ones(3, 1))) == ["weight"]
