"""Every loss is where it says it is, and no impossible value goes by unseen."""

import csv
import json
import math
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
from lightning.pytorch.strategies import DDPStrategy
from parity.ranks import on_ranks
from parity.training import quiet
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_losses import Bounds, LossModule, Term
from lightning_losses.callbacks.normalized_loss import NormalizedLossMonitor

Batch = dict[str, Tensor]
STEPS = 3
BOUNDS = {"near": Bounds(0.5, math.inf, 2.5), "far": Bounds(0.0, math.inf, None), "rare": Bounds(0.0, math.inf, 4.0)}
WEIGHTS = {"near": 2.0, "far": 3.0, "rare": 0.5}


def terms() -> dict[str, Term]:
    return {name: Term(weight=WEIGHTS[name], bounds=BOUNDS[name], optional=name == "rare") for name in BOUNDS}


class Model(L.LightningModule):
    """Its losses are what the batch says, whatever the weights are."""

    def __init__(self, nonfinite: str = "ignore", terms_: dict[str, Term] | None = None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.criterion = LossModule(terms_ or terms(), nonfinite=nonfinite)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.criterion(**{name: self.loss(value) for name, value in batch.items()})
        self.log("mine", loss)
        return loss

    def loss(self, values: Tensor) -> Tensor:
        return values.mean() + 0 * self.w

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.w], lr=0.1)


class Recorder(L.Callback):
    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            found = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.steps.append({name: value for name, value in found.items() if name.startswith("losses/")})


def fit(
    model: L.LightningModule,
    path: Path,
    data: list[Any],
    callbacks: list[L.Callback],
    ckpt_path: Path | None = None,
    **options: Any,
) -> L.Trainer:
    options = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, **options}
    trainer = L.Trainer(
        default_root_dir=path, callbacks=callbacks, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip
    with quiet():
        trainer.fit(model, DataLoader(data, batch_size=None), ckpt_path=ckpt_path)
    return trainer


# Values


@dataclass(frozen=True)
class Way:
    """One way to cut the same data."""

    id: str
    ranks: int = 1
    accumulate: int = 1


WAYS = [Way("one process"), Way("accumulation", 1, 3), Way("ddp", 2, 1), Way("ddp, accumulation", 2, 3)]


def batches(way: Way, rank: int) -> list[Batch]:
    """This rank's micro-batches; the rare loss is absent from some."""
    generator = torch.Generator().manual_seed(1)
    values = 1 + torch.rand(STEPS, 6, len(BOUNDS), 4, generator=generator, dtype=torch.float64)
    parts = [
        {name: values[step, part, i] for i, name in enumerate(BOUNDS) if name != "rare" or (step + part) % 6 > 2}
        for step in range(STEPS)
        for part in range(way.ranks * way.accumulate)
    ]
    return parts[rank :: way.ranks]


def train(way: Way, rank: int, path: Path) -> list[dict[str, float]]:
    recorder = Recorder()
    strategy = DDPStrategy(timeout=timedelta(minutes=2)) if way.ranks > 1 else "auto"
    fit(
        Model(), path, batches(way, rank), [NormalizedLossMonitor(every_n_steps=1), recorder], devices=way.ranks,
        strategy=strategy, accumulate_grad_batches=way.accumulate,
    )  # fmt: skip
    return recorder.steps


def by_hand(way: Way) -> list[dict[str, float]]:
    ranks = [batches(way, rank) for rank in range(way.ranks)]
    steps = []
    for step in range(STEPS):
        its = [batch for rank in ranks for batch in rank[step * way.accumulate : (step + 1) * way.accumulate]]
        values = {name: [float(batch[name].mean()) for batch in its if name in batch] for name in BOUNDS}
        total = sum(WEIGHTS[name] * sum(found) for name, found in values.items())
        truth = {}
        for name, found in values.items():
            if not found:
                continue
            truth |= {f"weight/{name}": WEIGHTS[name], f"share/{name}": WEIGHTS[name] * sum(found) / total}
            if name != "far":
                lower, reference = BOUNDS[name].lower, BOUNDS[name].reference
                truth |= {f"plateau/{name}": 0.0, f"too_good/{name}": 0.0}
                truth[f"normalized/{name}"] = (sum(found) / len(found) - lower) / (reference - lower)
        steps.append({f"losses/{name}": value for name, value in truth.items()})
    return steps


def assert_true(found: list[dict[str, float]], way: Way) -> None:
    assert len(found) == STEPS
    last: dict[str, float] = {}
    for mine, truth in zip(found, by_hand(way), strict=True):
        last |= truth  # an absent loss keeps the value that the Trainer last had of it
        assert mine == pytest.approx(last, rel=1e-6)


@pytest.mark.parametrize("way", [way for way in WAYS if way.ranks == 1])
def test_values_are_those_by_hand(way: Way, tmp_path: Path) -> None:
    assert_true(train(way, 0, tmp_path), way)


@pytest.mark.parametrize("way", [way for way in WAYS if way.ranks == 2])
def test_values_on_ranks_are_those_of_the_whole_batch(way: Way, of_ranks: list[dict[Any, Any]]) -> None:
    for found in of_ranks:
        assert_true(found[way], way)


def test_the_rare_loss_is_there_and_is_not() -> None:
    counts = [sum("rare" in batch for batch in batches(Way("", 1, 3), 0)[step * 3 : step * 3 + 3]) for step in range(3)]
    assert counts == [0, 1, 2]


# Findings


class Root(Model):
    """The square root has no value below 0."""

    def loss(self, values: Tensor) -> Tensor:
        return (values + self.w).sqrt().mean()


SICK_BATCH, SICK_RANK = 4, 1


def find_on_rank(rank: int, path: Path) -> tuple[list[Any], int]:
    """With two micro-batches a step, the fifth batch of the second rank has a root of a negative number."""
    data = [{"near": torch.full((3,), 1.0), "far": torch.full((3,), 2.0)} for _ in range(8)]
    if rank == SICK_RANK:
        data[SICK_BATCH]["far"] = torch.tensor([1.0, -1.0, 1.0])
    monitor = NormalizedLossMonitor(every_n_steps=1, save_batch=True, dirpath=str(path / "findings"))
    strategy = DDPStrategy(timeout=timedelta(minutes=2))
    trainer = fit(Root(), path, data, [monitor], devices=2, strategy=strategy, accumulate_grad_batches=2)
    return monitor.findings, trainer.global_step


def train_all(rank: int, folder: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = {way: train(way, rank, folder) for way in WAYS if way.ranks == 2}
    found["findings"] = find_on_rank(rank, folder)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def of_ranks(folder: Path) -> list[dict[Any, Any]]:
    return on_ranks(train_all, folder)


def test_a_nan_of_one_rank_is_found_there_with_its_batch(of_ranks: list[dict[Any, Any]], folder: Path) -> None:
    assert of_ranks[0]["findings"][0][0].batch_idx == 6  # in the step after, the weights are NaN on all ranks
    first = of_ranks[1]["findings"][0][0]
    assert (first.kind, first.term, first.step, first.batch_idx, first.rank) == ("nonfinite", "far", 2, SICK_BATCH, 1)
    assert math.isnan(first.value)
    line = json.loads((folder / "findings" / "findings-rank1.jsonl").read_text().splitlines()[0])
    assert line["batch_idx"] == SICK_BATCH
    saved = torch.load(folder / "findings" / "nonfinite-far-step2-batch4-rank1.pt")
    assert saved["finding"]["term"] == "far"
    assert Root().loss(saved["batch"]["far"]).isnan()
    assert Root().loss(saved["batch"]["near"]) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_stops_the_training_is_written_down(value: float, tmp_path: Path) -> None:
    data = [{"near": torch.ones(2), "far": torch.ones(2)} for _ in range(3)]
    data[1]["far"] = torch.tensor([1.0, value])
    monitor = NormalizedLossMonitor(save_batch=True, dirpath=str(tmp_path))
    model = Model(nonfinite="raise")
    with pytest.raises(FloatingPointError, match="Term 'far'"):
        fit(model, tmp_path, data, [monitor])
    (finding,) = monitor.findings
    assert (finding.kind, finding.term, finding.step, finding.batch_idx) == ("nonfinite", "far", 1, 1)
    assert finding.value == pytest.approx(value, nan_ok=True)
    saved = torch.load(tmp_path / "nonfinite-far-step1-batch1-rank0.pt")["batch"]
    assert torch.equal(saved["far"], data[1]["far"]) or math.isnan(value)
    assert model.criterion.listeners == []


def warned(data: list[Batch], path: Path, model: L.LightningModule, **options: Any) -> tuple[list[str], Any]:
    """What was warned of, and the monitor."""
    monitor = NormalizedLossMonitor(every_n_steps=1, dirpath=str(path), too_good_steps=0, **options)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[monitor],
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(model, DataLoader(data, batch_size=None))
    return [text for w in caught if (text := str(w.message)).startswith("Loss ")], monitor


def test_a_value_below_its_bound_is_said_once_and_kept_always(tmp_path: Path) -> None:
    data = [{"near": torch.tensor([value]), "far": torch.ones(1)} for value in (0.5, 0.5 - 1e-6, 0.4, 0.3)]
    said, monitor = warned(data, tmp_path, Model())
    assert [(f.kind, f.term, f.batch_idx) for f in monitor.findings] == [("below_bound", "near", i) for i in (2, 3)]
    assert len(said) == 1
    assert said[0].startswith("Loss 'near' must be at least its lower bound 0.5, found 0.4 at step 2, batch 2.")
    assert not list(tmp_path.glob("*.pt"))  # nobody asked for the batch


def test_a_bound_estimated_from_data_is_no_limit_for_a_batch(tmp_path: Path) -> None:
    model = Model(terms_={"near": Term(bounds=Bounds(lower=torch.tensor(0.5), reference=1.0))})
    assert warned([{"near": torch.zeros(1)}], tmp_path, model)[1].findings == []


def test_a_compiled_loss_module_is_checked_by_its_report(tmp_path: Path) -> None:
    model = Model()
    model.criterion.compile(backend="eager")
    data = [{"near": torch.tensor([value]), "far": torch.ones(1)} for value in (0.5, 0.4)]
    assert [(f.term, f.batch_idx) for f in warned(data, tmp_path, model)[1].findings] == [("near", 1)]


def test_a_healthy_training_leaves_no_folder(tmp_path: Path) -> None:
    data = [{"near": torch.ones(1), "far": torch.ones(1)}]
    fit(Model(), tmp_path, data, [NormalizedLossMonitor(dirpath=str(tmp_path / "findings"))])
    assert not (tmp_path / "findings").exists()


class Adversarial(Model):
    """Two LossModules, of which one is called twice a batch, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.other = LossModule({"near": Term(bounds=BOUNDS["near"])}, nonfinite="ignore")

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer = self.optimizers()
        for loss in (self.other(near=self.loss(batch["near"])), self.criterion(**{k: v.mean() for k, v in batch.items()}),
                     self.other(near=self.loss(torch.ones(1)))):  # fmt: skip
            if loss.requires_grad:
                self.manual_backward(loss)
        optimizer.step()


def test_every_call_of_every_loss_module_is_looked_at(tmp_path: Path) -> None:
    said, monitor = warned([{"near": torch.zeros(1), "far": torch.ones(1)}], tmp_path, Adversarial())
    assert [f.term for f in monitor.findings] == ["other/near", "criterion/near"]
    assert len(said) == 2


# Plain criteria


class Plain(L.LightningModule):
    """Knows nothing of LossModules."""

    def __init__(self, name: str = "train_loss") -> None:
        super().__init__()
        self.name = name
        self.w = nn.Parameter(torch.ones(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        loss = (self.w * batch).mean()
        self.log(self.name, 10 * loss)
        return {"loss": loss, "extra": loss}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.w], lr=0.0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_plain_losses_are_normalised_by_given_bounds(accumulate: int, tmp_path: Path) -> None:
    bounds = {"train_loss": Bounds(0.0, reference=20.0), "loss": Bounds(1.0, reference=3.0)}
    data = [torch.tensor([2.0]), torch.tensor([1.5])]
    recorder = Recorder()
    monitor = NormalizedLossMonitor(every_n_steps=1, bounds=bounds)
    fit(Plain(), tmp_path, data, [monitor, recorder], accumulate_grad_batches=accumulate)
    mean = sum(float(batch) for batch in data[-accumulate:]) / accumulate
    assert recorder.steps[-1]["losses/normalized/train_loss"] == pytest.approx(mean / 2)
    assert recorder.steps[-1]["losses/normalized/loss"] == pytest.approx((mean - 1) / 2)
    assert not any(name.startswith(("losses/weight", "losses/share")) for name in recorder.steps[-1])


def test_the_returned_loss_is_watched_where_nothing_else_is(tmp_path: Path) -> None:
    said, monitor = warned([torch.tensor([-9.0]), torch.tensor([math.inf])], tmp_path, Plain())
    assert [(f.kind, f.term, f.batch_idx) for f in monitor.findings] == [("nonfinite", "loss", 1)]
    assert said[0].startswith("Loss 'loss' must be finite, found inf at step 1, batch 1.")


def test_a_name_that_is_not_logged_is_an_error_that_knows_better(tmp_path: Path) -> None:
    monitor = NormalizedLossMonitor(bounds={"train_los": Bounds(0.0)})
    with pytest.raises(ValueError, match="found 'train_los'. Did you mean 'train_loss'?"):
        fit(Plain(), tmp_path, [torch.ones(1)], [monitor])


# Trends


def course(values: list[float]) -> list[Batch]:
    """The normalised values of a loss with bounds 0 and 1."""
    return [{"near": torch.tensor([value])} for value in values]


def unit_model() -> Model:
    return Model(terms_={"near": Term(bounds=Bounds(0.0, reference=1.0))})


COURSES = {
    "falling": ([0.97**i for i in range(12)], []),
    "flat": ([1.0] * 12, ["plateau"]),
    "rising": ([1.0 + i for i in range(12)], ["plateau"]),
    "too good": ([0.001] * 3, ["too_good"]),
    "good, but late": ([1.0] * 5 + [-1.0] * 3 + [0.0] * 4, []),
}


@pytest.mark.parametrize("name", COURSES)
def test_flags(name: str, tmp_path: Path) -> None:
    values, kinds = COURSES[name]
    recorder = Recorder()
    options = {"plateau_steps": 6, "too_good": 0.01, "too_good_steps": 5}
    fit(unit_model(), tmp_path, course(values), [NormalizedLossMonitor(every_n_steps=1, **options), recorder])
    ever = {kind for step in recorder.steps for kind in ("plateau", "too_good") if step[f"losses/{kind}/near"] == 1}
    assert sorted(ever) == kinds


def test_a_flag_is_warned_of_once(tmp_path: Path) -> None:
    said, _ = warned(course([1.0] * 9), tmp_path, unit_model(), plateau_steps=3)
    assert said == ["Loss 'near' has not improved since step 0, at step 3."]


def test_trends_go_on_in_a_resumed_run(tmp_path: Path) -> None:
    def run(values: list[float], **options: Any) -> NormalizedLossMonitor:
        monitor = NormalizedLossMonitor(every_n_steps=1)
        trainer = fit(unit_model(), tmp_path, course(values), [monitor], **options)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return monitor

    values = [0.9**i for i in range(8)]
    whole = run(values)
    run(values[:5])
    resumed = run(values[5:], ckpt_path=tmp_path / "last.ckpt", max_epochs=2)
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.state_dict()["near"]["best_step"] == 7


# Schedule, configuration


def test_by_default_what_is_measured_reaches_the_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    values = [1.0, 0.75, 0.5, 0.25]
    fit(unit_model(), tmp_path, course(values), [NormalizedLossMonitor()], logger=logger, log_every_n_steps=2)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["losses/normalized/near"])) for row in rows] == [(1, 0.75), (3, 0.25)]
    assert [float(row["mine"]) for row in rows] == [0.75, 0.25]


@pytest.mark.parametrize("options", [{"every_n_steps": 0}, {"plateau_steps": 0}, {"too_good": 1.0}])
def test_numbers_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        NormalizedLossMonitor(**options)


def test_it_is_configured_from_yaml() -> None:
    parser = ArgumentParser()
    parser.add_argument("--monitor", type=L.Callback)
    bounds = {"train_loss": {"class_path": "lightning_losses.Bounds", "init_args": {"reference": 2.0}}}
    config = {"class_path": "lightning_losses.callbacks.normalized_loss.NormalizedLossMonitor"}
    config["init_args"] = {"plateau_steps": 10, "bounds": bounds}
    monitor = parser.instantiate_classes(parser.parse_object({"monitor": config})).monitor
    assert monitor.bounds == {"train_loss": Bounds(reference=2.0)}
    assert monitor.trends.plateau_steps == 10
