"""The norms that are logged are those of the gradient of the mean loss over the step's whole batch."""

import csv
import re
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from parity.ranks import on_ranks
from parity.training import quiet
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from lightning_losses.callbacks import IncompatibleError, gradient_norm
from lightning_losses.callbacks.gradient_norm import GradientNormMonitor
from lightning_losses.callbacks.layer_groups import LayerGroups
from lightning_losses.callbacks.noise_scale import NoiseScale

STEPS, BATCH, LR = 4, 12, 0.05
CLIP = {"norm": 9.98, "value": 5.0}  # exceeded in some steps, not in others


@dataclass(frozen=True)
class Way:
    """One way to train on the same data."""

    id: str
    strategy: str = "single"
    accumulate: int = 1
    half: bool = False
    fused: bool = False
    clip: str | None = None

    @property
    def ranks(self) -> int:
        return 1 if self.strategy == "single" else 2

    @property
    def tolerance(self) -> float:
        return 1e-2 if self.half else 1e-5


WAYS = [
    Way("float32"),
    Way("accumulation", accumulate=3),
    Way("clipping by norm", clip="norm"),
    Way("clipping by value", clip="value"),
    Way("float16", half=True),
    Way("float16, clipping, accumulation", half=True, clip="norm", accumulate=3),
    Way("float16, fused", half=True, fused=True),
    Way("float16, fused, accumulation", half=True, fused=True, accumulate=3),
    Way("ddp", "ddp"),
    Way("ddp, accumulation, clipping", "ddp", accumulate=3, clip="norm"),
    Way("ddp, bucket views", "ddp-views"),
    Way("ddp, float16, accumulation", "ddp", accumulate=3, half=True),
    Way("fsdp2", "fsdp2"),
    Way("fsdp2, accumulation, clipping", "fsdp2", accumulate=3, clip="norm"),
    Way("fsdp2, float16", "fsdp2", half=True),
]


def network() -> nn.ModuleDict:
    torch.manual_seed(5)
    trunk = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 5))
    return nn.ModuleDict({"trunk": trunk, "head": nn.Linear(5, 1)})


def samples() -> Tensor:
    """[STEPS, BATCH, 4]; every step's losses differ much between samples."""
    return torch.randn(STEPS, BATCH, 4, generator=torch.Generator().manual_seed(2))


def loss_of(net: nn.ModuleDict, batch: Tensor) -> Tensor:
    return nn.functional.mse_loss(net["head"](torch.tanh(net["trunk"](batch))), batch.square().sum(1, keepdim=True))


class Model(L.LightningModule):
    def __init__(self, way: Way = WAYS[0]) -> None:
        super().__init__()
        self.way, self.net = way, network()

    def configure_model(self) -> None:
        if self.way.strategy == "fsdp2":
            for part in (*self.net["trunk"][::2], self.net["head"]):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return loss_of(self.net, batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LR, momentum=0.9, fused=self.way.fused)


class Recorder(L.Callback):
    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def strategy(way: Way) -> Any:
    soon = timedelta(minutes=2)
    if way.strategy == "fsdp2":
        return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1, timeout=soon)
    ddp = {"ddp": {}, "ddp-views": {"gradient_as_bucket_view": True}}
    return DDPStrategy(timeout=soon, **ddp[way.strategy]) if way.strategy in ddp else "auto"


def fit(
    model: L.LightningModule,
    path: Path,
    data: Any,
    callbacks: list[L.Callback],
    ckpt_path: Path | None = None,
    **options: Any,
) -> L.Trainer:
    options = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, **options}
    trainer = L.Trainer(
        default_root_dir=path, callbacks=callbacks, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, batch_size=None), ckpt_path=ckpt_path)
    return trainer


def train(way: Way, rank: int, path: Path) -> list[dict[str, float]]:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    options: dict[str, Any] = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]} if way.half else {}
    data = [part.chunk(way.ranks)[rank] for step in samples() for part in step.chunk(way.accumulate)]
    recorder = Recorder()
    with quiet():
        fit(
            Model(way), path, data, [GradientNormMonitor(every_n_steps=1, depth=2), recorder], devices=way.ranks,
            strategy=strategy(way), accumulate_grad_batches=way.accumulate,
            gradient_clip_val=CLIP.get(way.clip), gradient_clip_algorithm=way.clip, **options,
        )  # fmt: skip
    return recorder.steps


def by_hand(way: Way) -> list[dict[str, float]]:
    """One process, the whole batch, float64, nothing of Lightning."""
    net = network().double()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=0.9)
    groups = {f"net.{name}": list(part.parameters()) for name, part in net.items()}
    steps = []
    for batch in samples().double():
        optimizer.zero_grad()
        loss_of(net, batch).backward()
        seen = {f"norm/{name}": norm(p.grad for p in group) for name, group in groups.items()}
        seen["norm/total"] = norm(p.grad for p in net.parameters())
        if way.clip:
            clip = {"norm": nn.utils.clip_grad_norm_, "value": nn.utils.clip_grad_value_}[way.clip]
            clip(net.parameters(), CLIP[way.clip])
            seen |= {f"norm_clipped/{name}": norm(p.grad for p in group) for name, group in groups.items()}
            seen["norm_clipped/total"] = norm(p.grad for p in net.parameters())
        before = [p.detach().clone() for p in net.parameters()]
        optimizer.step()
        changes = iter([p.detach() - old for p, old in zip(net.parameters(), before, strict=True)])
        for name, group in groups.items():
            seen[f"update_ratio/{name}"] = norm(next(changes) for _ in group) / norm(group)
        steps.append({f"gradients/{name}": value for name, value in seen.items()} | {"gradients/nonfinite": 0.0})
    return steps


def norm(tensors: Any) -> float:
    return sum(float(t.detach().square().sum()) for t in tensors) ** 0.5


def train_all(rank: int, folder: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = {way: train(way, rank, folder) for way in WAYS if way.ranks == 2}
    found |= {way: noise_of(way, rank, folder) for way in NOISE_WAYS if way.ranks == 2}
    return found


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    return on_ranks(train_all, tmp_path_factory.mktemp("ranks"))


def assert_true(found: list[dict[str, float]], way: Way) -> None:
    assert len(found) == STEPS
    for step, (mine, truth) in enumerate(zip(found, by_hand(way), strict=True)):
        assert mine.keys() - {"gradients/noise_scale"} == truth.keys()
        for name, value in truth.items():
            assert mine[name] == pytest.approx(value, rel=way.tolerance), f"step {step}: {name}"


@pytest.mark.parametrize("way", [way for way in WAYS if way.ranks == 1])
def test_norms_are_those_by_hand(way: Way, tmp_path: Path) -> None:
    assert_true(train(way, 0, tmp_path), way)


@pytest.mark.parametrize("way", [way for way in WAYS if way.ranks == 2])
def test_norms_on_ranks_are_those_of_the_whole_batch(way: Way, of_ranks: list[dict[Any, Any]]) -> None:
    for found in of_ranks:
        assert_true(found[way], way)


@pytest.mark.parametrize("clip", CLIP)
def test_clipping_is_tested_on_both_sides_of_the_bound(clip: str) -> None:
    steps = by_hand(Way("", clip=clip))
    shrunk = [step["gradients/norm_clipped/total"] / step["gradients/norm/total"] for step in steps]
    assert min(shrunk) < 0.99
    assert max(shrunk) == 1


# The noise scale


DIMENSIONS, SIGMA = 50, 2.0


class Quadratic(L.LightningModule):
    """L(w; x) = <w, x>: the gradient of a sample is x itself, whatever w is. Its noise scale is d sigma^2 / |mean|^2."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(DIMENSIONS, 1, bias=False)

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            fully_shard(self.linear, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.linear(batch).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


NOISE_WAYS = [
    Way("noise, accumulation", accumulate=4),
    Way("noise, ddp", "ddp"),
    Way("noise, ddp, bucket views", "ddp-views"),
    Way("noise, ddp, accumulation", "ddp", accumulate=2),
    Way("noise, fsdp2, accumulation", "fsdp2", accumulate=2),
    Way("noise, float16, accumulation", accumulate=4, half=True),
]


def noise_of(way: Way, rank: int, path: Path) -> tuple[float, int | None]:
    """Samples are N(1, sigma^2 I): G^2 = d and S = d sigma^2, so the noise scale is sigma^2 = 4 samples."""
    data = 1 + SIGMA * torch.randn(300 * way.accumulate, 4, DIMENSIONS, generator=torch.Generator().manual_seed(rank))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    options: dict[str, Any] = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]} if way.half else {}
    monitor = GradientNormMonitor(every_n_steps=1, update_ratio=False)
    monitor.noise.decay = 0.99
    with quiet():
        trainer = fit(
            Quadratic(), path, list(data), [monitor], strategy=strategy(way), devices=way.ranks,
            accumulate_grad_batches=way.accumulate, **options,
        )  # fmt: skip
    return float(trainer.callback_metrics["gradients/noise_scale"]), monitor.recommended_batch_size


def assert_noise(found: tuple[float, int | None]) -> None:
    value, recommended = found
    assert value == pytest.approx(SIGMA**2, rel=0.12)  # some 3 standard errors of 300 steps with decay 0.99
    assert recommended == round(value)


@pytest.mark.parametrize("way", [way for way in NOISE_WAYS if way.ranks == 1])
def test_noise_scale_of_known_noise(way: Way, tmp_path: Path) -> None:
    assert_noise(noise_of(way, 0, tmp_path))


@pytest.mark.parametrize("way", [way for way in NOISE_WAYS if way.ranks == 2])
def test_noise_scale_of_known_noise_on_ranks(way: Way, of_ranks: list[dict[Any, Any]]) -> None:
    for found in of_ranks:
        assert_noise(found[way])
    assert of_ranks[0][way] == of_ranks[1][way]


def test_noise_estimates_are_unbiased_where_their_ratio_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = NoiseScale(decay=0.9999)
    for _ in range(3000):
        x = 1 + 3 * torch.randn(8, 4, generator=generator)
        noise.add(float(x[:2].mean(0).square().sum()), float(x.mean(0).square().sum()), 2, 8)
    assert noise.value == pytest.approx(9.0, rel=0.1)


def test_why_there_is_no_noise_scale_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(gradient_norm, "rank_zero_info", said.append)
    trainer = fit(Model(), tmp_path, list(samples()), [GradientNormMonitor(every_n_steps=1)])
    assert "gradients/noise_scale" not in trainer.callback_metrics
    assert len(said) == 1
    assert "no noise scale: gradients come at one batch size" in said[0]


class Opaque:
    """A batch in which no batch size can be found."""

    def __init__(self, samples: Tensor) -> None:
        self.samples = samples


class OpaqueQuadratic(Quadratic):
    def training_step(self, batch: Opaque, batch_idx: int) -> Tensor:
        return self.linear(batch.samples).mean()


def test_a_batch_without_a_size_costs_the_noise_scale_only(tmp_path: Path) -> None:
    data = [Opaque(1 + torch.randn(4, DIMENSIONS)) for _ in range(4)]
    found = []
    for batch_size in (None, 4):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            monitor = GradientNormMonitor(every_n_steps=1, batch_size=batch_size)
            fit(OpaqueQuadratic(), tmp_path, data, [monitor], accumulate_grad_batches=2)
        found.append((monitor.noise.count, any("Pass batch_size" in str(w.message) for w in caught)))
    assert found == [(0, True), (2, False)]


# Layers that are not well


class Sick(Model):
    """From the third step on, the gradient of the first layer is multiplied by `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def on_after_backward(self) -> None:
        if self.trainer.global_step >= 2:
            for parameter in self.net["trunk"][0].parameters():
                parameter.grad.mul_(self.factor)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


SICKNESSES = {
    "nan": (float("nan"), r"The gradient is not finite at step 2: its norm is nan in layer 'net.trunk.0'\.$"),
    "inf": (float("inf"), r"The gradient is not finite at step 2: its norm is inf in layer 'net.trunk.0'\.$"),
    "exploding": (1e4, r"The gradient of layer 'net.trunk.0' explodes at step 2:"),
    "vanishing": (1e-9, r"The gradient of layer 'net.trunk.0' vanishes at step 2:"),
}


@pytest.mark.parametrize("name", SICKNESSES)
def test_the_sick_layer_is_named_and_no_other(name: str, tmp_path: Path) -> None:
    factor, match = SICKNESSES[name]
    monitor = GradientNormMonitor(every_n_steps=1, depth=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = fit(Sick(factor), tmp_path, list(samples()), [monitor])
    said = [str(warning.message) for warning in caught if str(warning.message).startswith("The gradient")]
    assert len(said) == 1
    assert re.match(match, said[0])
    assert (trainer.callback_metrics["gradients/nonfinite"] > 0) == (name in ("nan", "inf"))


def test_a_healthy_training_is_warned_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The gradient")
        fit(Model(), tmp_path, list(samples()), [GradientNormMonitor(every_n_steps=1, depth=3)])


def test_steps_that_are_not_finite_enter_no_running_mean(tmp_path: Path) -> None:
    monitors = [GradientNormMonitor(every_n_steps=1) for _ in range(2)]
    with quiet():
        fit(Sick(float("nan")), tmp_path, list(samples()), [monitors[0]])
        fit(Sick(1.0), tmp_path, list(samples()[:2]), [monitors[1]])
    assert monitors[0].state_dict() == monitors[1].state_dict()


def test_an_overflow_that_the_scaler_skips_is_flagged_but_not_warned_of(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    monitor, recorder = GradientNormMonitor(every_n_steps=1), Recorder()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The gradient")
        fit(
            Model(), tmp_path, list(samples()), [monitor, recorder], plugins=[MixedPrecision("16-mixed", "cpu", scaler)]
        )
    assert recorder.steps[0]["gradients/nonfinite"] > 0
    assert "gradients/update_ratio/net.trunk" not in recorder.steps[0]


# Names, schedules, optimizers


class Adversarial(L.LightningModule):
    """Two networks with an optimizer each, stepped by hand; the second only in every other batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.nets = nn.ModuleList([network(), network()])

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        for i, (net, optimizer) in enumerate(zip(self.nets, self.optimizers(), strict=True)):
            if batch_idx % 2 == 0 or i == 0:
                optimizer.zero_grad()
                self.manual_backward((i + 1) * loss_of(net, batch))
                optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(net.parameters(), lr=0.0) for net in self.nets]


def test_every_optimizer_has_its_series(tmp_path: Path) -> None:
    trainer = fit(Adversarial(), tmp_path, list(samples()[:1]), [GradientNormMonitor(every_n_steps=1)])
    first, second = (float(trainer.callback_metrics[f"gradients/{i}/norm/total"]) for i in range(2))
    assert second == pytest.approx(2 * first, rel=1e-6)
    assert first == pytest.approx(by_hand(WAYS[0])[0]["gradients/norm/total"], rel=1e-5)


def test_steps_between_are_not_measured(tmp_path: Path) -> None:
    recorder = Recorder()
    fit(Model(), tmp_path, list(samples()), [GradientNormMonitor(every_n_steps=3), recorder])
    truth = by_hand(WAYS[0])
    totals = [step.get("gradients/norm/total") for step in recorder.steps]
    assert totals[:2] == [None, None]
    assert totals[2:] == pytest.approx([truth[2]["gradients/norm/total"]] * 2, rel=1e-5)


def test_by_default_what_is_measured_reaches_the_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(Model(), tmp_path, list(samples()), [GradientNormMonitor()], logger=logger, log_every_n_steps=2)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        logged = [float(row["gradients/norm/total"]) for row in csv.DictReader(file)]
    truth = [step["gradients/norm/total"] for step in by_hand(WAYS[0])]
    assert logged == pytest.approx(truth[1::2], rel=1e-5)


def test_groups_are_named_by_depth_or_by_pattern() -> None:
    net = nn.ModuleDict({"model": network()})
    net["model"]["head"].requires_grad_(False)
    assert list(LayerGroups(net, depth=1).split(net.parameters())) == ["model"]
    assert list(LayerGroups(net, depth=9).split(net.parameters())) == ["model.trunk.0", "model.trunk.2"]
    named = LayerGroups(net, patterns={"first": "*trunk.0*"}).split(net.parameters())
    assert {name: len(group) for name, group in named.items()} == {"first": 2, "other": 2}
    with pytest.raises(ValueError, match=r"groups\['x'\].*found 'model.trnk.*'"):
        LayerGroups(net, patterns={"x": "model.trnk.*"})


def test_a_compiled_part_keeps_its_names() -> None:
    net = nn.ModuleDict({"trunk": torch.compile(nn.Sequential(nn.Linear(2, 2)), backend="eager")})
    assert list(LayerGroups(net, depth=2).split(net.parameters())) == ["trunk.0"]


@pytest.mark.parametrize(
    "options", [{"depth": 0}, {"every_n_steps": 0}, {"batch_size": 0}, {"exploding": 0.5}, {"vanishing": 2.0}]
)
def test_numbers_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        GradientNormMonitor(**options)


def test_strategies_that_hide_layers_are_refused() -> None:
    trainer = L.Trainer(logger=False, enable_checkpointing=False)
    trainer._accelerator_connector.strategy = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=2)
    with pytest.raises(IncompatibleError, match="tensor_parallel_size=2"):
        GradientNormMonitor().setup(trainer, Model(), "fit")


def test_the_running_means_go_on_in_a_resumed_run(tmp_path: Path) -> None:
    def run(data: list[Tensor], **options: Any) -> GradientNormMonitor:
        monitor = GradientNormMonitor(every_n_steps=1)
        trainer = fit(Quadratic(), tmp_path, data, [monitor], accumulate_grad_batches=2, **options)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return monitor

    data = list(1 + torch.randn(8, 4, DIMENSIONS, generator=torch.Generator().manual_seed(0)))
    whole = run(data)
    run(data[:4])
    resumed = run(data[4:], ckpt_path=tmp_path / "last.ckpt", max_epochs=2)
    assert resumed.noise.count == 4
    assert resumed.state_dict() == whole.state_dict()


def test_two_monitors_keep_two_states() -> None:
    assert GradientNormMonitor().state_key != GradientNormMonitor(prefix="mine/").state_key


def test_it_is_configured_from_yaml() -> None:
    parser = ArgumentParser()
    parser.add_argument("--monitor", type=L.Callback)
    config = {"class_path": "lightning_losses.callbacks.gradient_norm.GradientNormMonitor"}
    config["init_args"] = {"every_n_steps": 10, "groups": {"heads": "net.head*"}}
    monitor = parser.instantiate_classes(parser.parse_object({"monitor": config})).monitor
    assert (monitor.every_n_steps, monitor.groups) == (10, {"heads": "net.head*"})
