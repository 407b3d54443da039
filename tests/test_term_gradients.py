"""Norms and cosines of the terms' gradients are those that one process with the whole batch would find."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from parity.ranks import on_ranks
from parity.training import quiet
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from lightning_losses import LossModule, Term
from lightning_losses.balancers import GradNorm
from lightning_losses.callbacks import IncompatibleError
from lightning_losses.callbacks.term_gradients import TermGradientMonitor
from lightning_losses.callbacks.term_gram import gram

STEPS, BATCH = 3, 12
NAMES = ("near", "far", "size")


@dataclass(frozen=True)
class Way:
    """One way to train on the same data."""

    id: str
    strategy: str = "single"
    accumulate: int = 1
    at: str = "features"
    precision: str = "64-true"

    @property
    def ranks(self) -> int:
        return 1 if self.strategy == "single" else 2

    @property
    def parts(self) -> int:
        return self.ranks * self.accumulate

    @property
    def pattern(self) -> str | None:
        return "trunk.*" if self.at == "parameters" else None


WAYS = [
    Way("features"),
    Way("features, accumulation", accumulate=3),
    Way("branches", at="branches"),
    Way("a path", at="path"),
    Way("features, compiled heads", at="compiled"),
    Way("features, float16", precision="float16"),
    Way("features, float16, accumulation", precision="float16", accumulate=3),
    Way("parameters", at="parameters"),
    Way("parameters, accumulation", accumulate=3, at="parameters"),
    Way("features, ddp", "ddp"),
    Way("features, ddp, accumulation", "ddp", accumulate=3),
    Way("features, fsdp2", "fsdp2", precision="32-true"),
    Way("parameters, ddp, accumulation", "ddp", accumulate=3, at="parameters"),
]


class Model(L.LightningModule):
    """A trunk of two layers and three heads, whose losses conflict."""

    def __init__(self, way: Way = WAYS[0]) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.way = way
        self.trunk = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 5)).double()
        self.heads = nn.ModuleDict({name: nn.Linear(5, 1) for name in NAMES}).double()
        terms = {name: Term(weight=1 + i) for i, name in enumerate(NAMES)}
        balancer = GradNorm() if way.at == "branches" else None
        self.criterion = LossModule(terms, balancer, shared="trunk.2" if way.at == "path" else None)
        if way.at == "compiled":
            for head in self.heads.values():
                head.compile(backend="aot_eager")
        if way.precision != "64-true":
            self.float()

    def configure_model(self) -> None:
        if self.way.strategy == "fsdp2":
            for part in (*self.trunk[::2], *self.heads.values()):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def losses(self, starts: dict[str, Tensor], batch: Tensor) -> dict[str, Tensor]:
        targets = {"near": batch.sum(1), "far": -batch.sum(1), "size": batch.square().sum(1)}
        return {name: (head(starts[name])[:, 0] - targets[name]).square().mean() for name, head in self.heads.items()}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        features = self.trunk(batch)
        shared: Any = self.criterion.branch(features) if self.way.at == "branches" else features
        starts = shared if self.way.at == "branches" else dict.fromkeys(NAMES, features)
        place = {} if self.way.at in ("path", "parameters") else {"shared": shared}
        return self.criterion(**self.losses(starts, batch), **place)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Recorder(L.Callback):
    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def fit(model: L.LightningModule, path: Path, data: Any, callbacks: list[L.Callback], **options: Any) -> L.Trainer:
    options = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, **options}
    trainer = L.Trainer(
        default_root_dir=path, callbacks=callbacks, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, batch_size=None))
    return trainer


def strategy(way: Way) -> Any:
    soon = timedelta(minutes=2)
    if way.strategy == "fsdp2":
        return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1, timeout=soon)
    return DDPStrategy(timeout=soon) if way.strategy == "ddp" else "auto"


def samples(way: Way) -> Tensor:
    """[STEPS, BATCH, 4]."""
    data = torch.randn(STEPS, BATCH, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return data if way.precision == "64-true" else data.float()


def train(way: Way, rank: int, path: Path) -> list[dict[str, float]]:
    data = [part.chunk(way.ranks)[rank] for step in samples(way) for part in step.chunk(way.accumulate)]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    options: dict[str, Any] = {"precision": way.precision}
    if way.precision == "float16":
        options = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
    recorder = Recorder()
    monitor = TermGradientMonitor(every_n_steps=1, shared=way.pattern, per_layer=way.pattern is not None)
    with quiet():
        fit(
            Model(way), path, data, [monitor, recorder], devices=way.ranks, strategy=strategy(way),
            accumulate_grad_batches=way.accumulate, **options,
        )  # fmt: skip
    return recorder.steps


def by_hand(way: Way) -> list[dict[str, float]]:
    """One process, float64, nothing of Lightning: the weights never move."""
    model = Model().double()
    steps = []
    for batch in samples(way).double():
        if way.pattern is None:
            products = {"": products_at(model, batch, lambda features: [model.trunk[2].weight, model.trunk[2].bias])}
            if way.at != "path":
                products = {"": products_at(model, batch, lambda features: [features])}
        else:
            groups = {name: list(model.trunk[int(name[-1])].parameters()) for name in ("trunk.0", "trunk.2")}
            products = {
                f"{name}/": sum(products_at(model, part, lambda _, g=group: g) for part in batch.chunk(way.parts))
                / way.parts
                for name, group in groups.items()
            }
            products[""] = sum(products.values())
        steps.append({f"gradients/{name}": value for name, value in figures(products).items()})
    return steps


def products_at(model: Model, batch: Tensor, place: Callable[[Tensor], list[Tensor]]) -> Tensor:
    features = model.trunk(batch)
    losses = model.losses(dict.fromkeys(NAMES, features), batch)
    rows = [torch.autograd.grad(losses[name], place(features), retain_graph=True) for name in NAMES]
    matrix = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
    return matrix @ matrix.T


def figures(products: dict[str, Tensor]) -> dict[str, float]:
    found = {
        f"term_norm/{group}{name}": float(its[i, i].sqrt())
        for group, its in products.items()
        for i, name in enumerate(NAMES)
    }
    total = products[""]
    angles = {
        f"cosine/{NAMES[i]}-{NAMES[j]}": float(total[i, j] / (total[i, i] * total[j, j]).sqrt())
        for i, j in combinations(range(len(NAMES)), 2)
    }
    return found | angles | {"conflict": sum(angle < 0 for angle in angles.values()) / len(angles)}


def assert_true(found: list[dict[str, float]], way: Way) -> None:
    assert len(found) == STEPS
    tolerance = {"64-true": 1e-6, "32-true": 1e-5, "float16": 1e-2}[way.precision]
    for mine, truth in zip(found, by_hand(way), strict=True):
        assert mine == pytest.approx(truth, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("way", [way for way in WAYS if way.ranks == 1])
def test_gradients_are_those_by_hand(way: Way, tmp_path: Path) -> None:
    assert_true(train(way, 0, tmp_path), way)


def train_all(rank: int, folder: Path) -> dict[Any, Any]:
    found = {way: train(way, rank, folder) for way in WAYS if way.ranks == 2}
    return found


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    return on_ranks(train_all, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("way", [way for way in WAYS if way.ranks == 2])
def test_gradients_on_ranks_are_those_by_hand(way: Way, of_ranks: list[dict[Any, Any]]) -> None:
    for found in of_ranks:
        assert_true(found[way], way)


def test_some_terms_conflict_and_some_do_not() -> None:
    assert all(0 < step["gradients/conflict"] < 1 for step in by_hand(WAYS[0]))


# Terms that are not as they should be


class Direct(L.LightningModule):
    """Its features are a parameter's image, its losses whatever `terms` makes of them."""

    def __init__(self, terms: Callable[[Tensor], dict[str, Tensor]], shared: bool = True) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([3.0, 4.0]))
        self.terms, self.shared = terms, shared
        self.criterion = LossModule({name: Term(optional=True) for name in ("a", "b", "c")}, nonfinite="ignore")

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        features = self.w * batch
        return self.criterion(**self.terms(features), **({"shared": features} if self.shared else {}))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def measure(model: L.LightningModule, path: Path, **options: Any) -> dict[str, float]:
    recorder = Recorder()
    fit(model, path, [torch.ones(2)], [TermGradientMonitor(every_n_steps=1), recorder], **options)
    return recorder.steps[0]


def test_a_term_that_is_absent_or_elsewhere_has_no_gradient_and_no_angle(tmp_path: Path) -> None:
    found = measure(Direct(lambda x: {"a": x.square().sum(), "b": torch.ones((), requires_grad=True) * 2}), tmp_path)
    assert found == {f"gradients/term_norm/{name}": norm for name, norm in {"a": 10.0, "b": 0.0, "c": 0.0}.items()}


def test_an_infinite_gradient_is_named_and_leaves_the_others_alone(tmp_path: Path) -> None:
    found = measure(Direct(lambda x: {"a": x.sum(), "b": (x - 3).sqrt().sum(), "c": -x.sum()}), tmp_path)
    assert found.pop("gradients/term_norm/b") == float("inf")
    truth = {"term_norm/a": 2**0.5, "term_norm/c": 2**0.5, "cosine/a-c": -1.0, "conflict": 1.0}
    assert found == pytest.approx({f"gradients/{name}": value for name, value in truth.items()})


def test_gradients_below_the_range_of_float16_are_measured(tmp_path: Path) -> None:
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**16))
    tiny = measure(Direct(lambda x: {"a": 1e-8 * x.half().sum().float()}), tmp_path, plugins=[plugin])
    assert tiny["gradients/term_norm/a"] == pytest.approx(1e-8 * 2**0.5, rel=1e-2)


@pytest.mark.parametrize("shared", [False, True], ids=["nowhere", "detached"])
def test_that_nothing_could_be_measured_is_said(shared: bool, tmp_path: Path) -> None:
    model = Direct(lambda x: {"a": x.sum()}, shared=False)
    if shared:
        model.training_step = lambda batch, batch_idx: model.criterion(a=(model.w * batch).sum(), shared=batch)
    with pytest.warns(UserWarning, match="has measured nothing at step 0.*Pass shared=features"):
        assert measure(model, tmp_path) == {}


class Adversarial(L.LightningModule):
    """Two LossModules under manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.w = nn.Parameter(torch.ones(2))
        self.critic, self.maker = (LossModule({"real": Term(), "fake": Term()}) for _ in range(2))

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        for factor, criterion in ((1.0, self.critic), (2.0, self.maker)):
            features = self.w * batch
            loss = criterion(real=factor * features.sum(), fake=factor * features[0], shared=features)
            self.manual_backward(loss)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_every_loss_module_has_its_own_series(tmp_path: Path) -> None:
    found = measure(Adversarial(), tmp_path)
    norms = {"critic/real": 2**0.5, "critic/fake": 1.0, "maker/real": 2 * 2**0.5, "maker/fake": 2.0}
    truth = {f"term_norm/{name}": norm for name, norm in norms.items()} | {"conflict": 0.0}
    truth |= {f"cosine/{path}/real-fake": 0.5**0.5 for path in ("critic", "maker")}
    assert found == pytest.approx({f"gradients/{name}": value for name, value in truth.items()})


@pytest.mark.parametrize("at", ["parameter", "features"])
def test_hooks_and_grad_see_nothing(at: str) -> None:
    calls: list[str] = []
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    features = 3 * w
    losses = [features.sum(), features.square().sum()]
    place = {"parameter": w, "features": features}[at]
    for name, tensor in (("place", place), ("loss", losses[0])):
        tensor.register_hook(lambda gradient, name=name: calls.append(name))
    gram(losses, [[place]] * 2, scale=1.0)
    assert calls == []
    assert w.grad is None
    sum(losses).backward()
    assert sorted(calls) == ["loss", "place"]


def test_steps_between_are_not_listened_to(tmp_path: Path) -> None:
    heard: list[int] = []

    class Witness(L.Callback):
        def on_before_backward(self, trainer: L.Trainer, model: Direct, loss: Tensor) -> None:
            heard.append(len(model.criterion.listeners))

    model = Direct(lambda x: {"a": x.sum()})
    fit(model, tmp_path, [torch.ones(2)] * 4, [TermGradientMonitor(every_n_steps=3), Witness()])
    assert heard == [0, 0, 1, 0]
    assert model.criterion.listeners == []


# What cannot work


def test_a_model_without_loss_module_is_refused(tmp_path: Path) -> None:
    model = Direct(lambda x: {"a": x.sum()})
    model.criterion = nn.Identity()
    with pytest.raises(IncompatibleError, match="needs a LossModule"):
        fit(model, tmp_path, [torch.ones(2)], [TermGradientMonitor()])


REFUSED = {
    "static graph": (DDPStrategy(static_graph=True), None, r"static_graph=True"),
    "fsdp": (FSDPStrategy(), None, "FSDPStrategy.*ModelParallelStrategy"),
    "sharded parameters": (ModelParallelStrategy(), "trunk.*", "shared='trunk.*'.*pass features"),
    "tensor parallel": (ModelParallelStrategy(tensor_parallel_size=2), None, "tensor_parallel_size=2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_strategies_under_which_there_is_no_gradient_are_refused(name: str) -> None:
    its_strategy, shared, match = REFUSED[name]
    trainer = L.Trainer(logger=False, enable_checkpointing=False)
    trainer._accelerator_connector.strategy = its_strategy
    with pytest.raises(IncompatibleError, match=match):
        TermGradientMonitor(shared=shared).setup(trainer, Model(), "fit")


def test_a_model_compiled_as_a_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="whole LightningModule"):
        fit(torch.compile(Model(), backend="eager"), tmp_path, list(samples(WAYS[0])), [TermGradientMonitor()])


def test_a_pattern_that_matches_nothing_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found 'trunk.2.wieght'. Did you mean 'trunk.2.weight'?"):
        fit(Model(), tmp_path, list(samples(WAYS[0])), [TermGradientMonitor(shared="trunk.2.wieght")])


@pytest.mark.parametrize("options", [{"depth": 0}, {"every_n_steps": 0}, {"per_layer": True}])
def test_wrong_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TermGradientMonitor(**options)


def test_it_is_configured_from_yaml() -> None:
    parser = ArgumentParser()
    parser.add_argument("--monitor", type=L.Callback)
    config = {"class_path": "lightning_losses.callbacks.TermGradientMonitor"}
    config["init_args"] = {"every_n_steps": 10, "shared": "net.*", "per_layer": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monitor = parser.instantiate_classes(parser.parse_object({"monitor": config})).monitor
    assert (monitor.every_n_steps, monitor.shared, monitor.per_layer) == (10, "net.*", True)
