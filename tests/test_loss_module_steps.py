"""What the callback that adds itself does for a LossModule in a Trainer, and what it refuses."""

import copy
import itertools
import math
import warnings
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchjd.aggregation import UPGradWeighting

from lightning_losses import LossModule, Term, parameter_groups
from lightning_losses.balancers import DynamicWeightAverage, Fixed, GradNorm, Gramian, Uncertainty
from lightning_losses.callbacks import IncompatibleError, LossModuleSteps, manual_step
from lightning_losses.schedules import WarmUp

BALANCERS = {
    "fixed": Fixed,
    "gradnorm": GradNorm,
    "uncertainty": Uncertainty,
    "dwa": lambda: DynamicWeightAverage(period=1),
    "upgrad": lambda: Gramian(UPGradWeighting()),
    "upgrad-lagged": lambda: Gramian(UPGradWeighting(), lagged=True),
}


class Model(L.LightningModule):
    """Two heads on one trunk; `size` scales the losses."""

    def __init__(self, criterion: LossModule, size: float = 1.0, branch: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.near, self.far = nn.Linear(4, 8), nn.Linear(8, 1), nn.Linear(8, 1)
        self.criterion, self.size, self.branch = criterion, size, branch

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        features = torch.tanh(self.trunk(batch))
        shared = self.criterion.branch(features) if self.branch else features
        near, far = (shared["near"], shared["far"]) if self.branch else (features, features)
        differences = {"near": (self.near(near).float() - 1), "far": 3 * (self.far(far).float() + 2)}
        places = {"shared": shared} if self.criterion.shared is None else {}
        return self.criterion(**{name: self.size * x.square().mean() for name, x in differences.items()}, **places)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make(balancer=None, **options) -> LossModule:
    return LossModule({"near": Term(), "far": Term()}, balancer, **options)


def fit(model: L.LightningModule, path: Path, batches: int = 6, callbacks=(), skip: int = 0, **options) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu", default_root_dir=path, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks), **options,
    )  # fmt: skip
    data = torch.randn(batches, 8, 4, generator=torch.Generator().manual_seed(1))
    trainer.fit(model, DataLoader(list(data[skip:]), batch_size=None))
    return trainer


def half_precision(scale: float) -> dict[str, object]:
    return {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))]}


def state_of(criterion: LossModule) -> dict[str, object]:
    return copy.deepcopy(criterion.state_dict())


def same(one: dict[str, object], other: dict[str, object]) -> bool:
    return all(str(one[name]) == str(other[name]) for name in one | other)


def test_it_adds_itself_to_every_trainer() -> None:
    trainer = L.Trainer(logger=False, enable_checkpointing=False, barebones=False)
    assert [type(callback) for callback in trainer.callbacks].count(LossModuleSteps) == 1


@pytest.mark.parametrize("callbacks", [(), (LossModuleSteps(),)], ids=["by itself", "added by hand too"])
@pytest.mark.parametrize(("batches", "accumulate", "steps"), [(6, 1, 6), (6, 2, 3), (7, 3, 3)])
def test_a_step_is_the_optimizers(tmp_path: Path, callbacks, batches: int, accumulate: int, steps: int) -> None:
    model = Model(LossModule({"near": Term(weight=WarmUp(1.0, steps=100)), "far": Term()}))
    trainer = fit(model, tmp_path, batches, callbacks, accumulate_grad_batches=accumulate)
    assert model.criterion.steps == trainer.global_step == steps


def test_steps_that_are_the_users_stay_the_users(tmp_path: Path) -> None:
    model = Model(make(auto_step=False))
    fit(model, tmp_path)
    assert model.criterion.steps == 0


@pytest.mark.parametrize("end", ["well", "with an error"])
def test_after_the_fit_every_call_is_a_step_again(tmp_path: Path, end: str) -> None:
    class Fails(L.Callback):
        def on_train_batch_end(self, *args) -> None:
            raise KeyError("end of the world")

    model = Model(make(GradNorm()))
    if end == "well":
        fit(model, tmp_path, 2)
    else:
        with pytest.raises(KeyError, match="end of the world"):
            fit(model, tmp_path, 2, [Fails()])
    steps = model.criterion.steps
    model.train()
    model.training_step(torch.ones(8, 4), 0)
    assert model.criterion.steps == steps + 1


class States(L.Callback):
    """The state of the loss and the scale after every batch."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, dict[str, object]]] = []

    def on_train_batch_start(self, trainer: L.Trainer, model: Model, *args) -> None:
        if not self.seen:
            self.on_train_batch_end(trainer, model)

    def on_train_batch_end(self, trainer: L.Trainer, model: Model, *args) -> None:
        self.seen.append((trainer.precision_plugin.scaler.get_scale(), state_of(model.criterion)))


OVERFLOWS = [
    *itertools.product(set(BALANCERS) - {"upgrad"}, (1, 2), ("features",)),
    ("upgrad", 1, "features"),
    *itertools.product(("gradnorm",), (1, 2), ("branches",)),
]


@pytest.mark.parametrize(("name", "accumulate", "place"), sorted(OVERFLOWS))
def test_a_step_that_overflowed_leaves_no_trace(tmp_path: Path, name: str, accumulate: int, place: str) -> None:
    model, states = Model(make(BALANCERS[name]()), branch=place == "branches"), States()
    # The callback that adds itself comes last; by hand it comes before the one that looks.
    callbacks = [LossModuleSteps(), states]
    fit(model, tmp_path, 12 * accumulate, callbacks, accumulate_grad_batches=accumulate, **half_precision(2.0**18))
    kinds = {"taken": 0, "overflow": 0}
    for (scale, before), (next_scale, after) in itertools.pairwise(states.seen[::accumulate]):
        overflow = next_scale < scale
        kinds["overflow" if overflow else "taken"] += 1
        assert same(before, after) or not overflow
    assert min(kinds.values()) > 1
    assert model.criterion.steps == kinds["taken"]


@pytest.mark.parametrize(("name", "accumulate", "place"), sorted(OVERFLOWS))
def test_a_step_that_overflowed_might_as_well_not_have_been(
    tmp_path: Path, name: str, accumulate: int, place: str
) -> None:
    """The run goes on as one that had the right scale from the start and never saw the batches that overflowed."""
    models = [Model(make(BALANCERS[name]()), branch=place == "branches") for _ in range(2)]
    options = {"batches": 12 * accumulate, "accumulate_grad_batches": accumulate}
    first = fit(models[0], tmp_path, **options, **half_precision(2.0**18))
    scale = first.precision_plugin.scaler.get_scale()
    missed = round(math.log2(2.0**18 / scale)) * accumulate
    assert missed > 0
    fit(models[1], tmp_path, **options, skip=missed, **half_precision(scale))
    assert same(models[0].state_dict(), models[1].state_dict())


class Skips(Model):
    """Leaves every third batch out, after it has looked at its losses."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor | None:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 3 == 1 else loss


@pytest.mark.parametrize("branch", [False, True], ids=["features", "branches"])
def test_a_batch_that_training_step_leaves_out_teaches_nothing(tmp_path: Path, branch: bool) -> None:
    model = Skips(make(GradNorm()), branch=branch)
    fit(model, tmp_path, 6)
    assert model.criterion.steps == model.criterion.balancer.steps == 4


@pytest.mark.parametrize("branch", [False, True], ids=["features", "branches"])
def test_gradients_too_small_for_float16_are_measured(tmp_path: Path, branch: bool) -> None:
    """Unscaled, they are below 6e-8 and vanish; the weights they lead to are those of float32."""
    weights = []
    for options in ({}, half_precision(2.0**24)):
        model = Model(make(GradNorm(alpha=0.0, lr=0.1)), size=1e-8, branch=branch)
        fit(model, tmp_path, **options)
        weights.append(model.criterion.balancer.log_weights.exp())
    assert (weights[0] - 1).abs().max() > 0.1
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-2, atol=0)


def test_the_shared_path_is_looked_up_in_the_model(tmp_path: Path) -> None:
    model = Model(make(GradNorm(), shared="trunk"))
    fit(model, tmp_path)
    assert model.criterion.balancer.steps == 6


def test_a_wrong_shared_path_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found 'trnk'.*trunk"):
        fit(Model(make(GradNorm(), shared="trnk")), tmp_path)


class Decayed(Model):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


class Forgotten(Model):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.trunk.parameters(), lr=0.01)


class Grouped(Model):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameter_groups(self, lr=0.01, weight_decay=0.1))


@pytest.mark.parametrize(
    ("kind", "match"), [(Decayed, "log_variance.*weight_decay=0.1.*parameter_groups"), (Forgotten, "in no optimizer")]
)
def test_learned_weights_in_the_wrong_group_are_warned_of(tmp_path: Path, kind: type[Model], match: str) -> None:
    with pytest.warns(UserWarning, match=match):
        fit(kind(make(Uncertainty())), tmp_path)


def test_learned_weights_in_a_group_of_their_own_are_not(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Parameter")
        fit(Grouped(make(Uncertainty())), tmp_path)


def test_a_schedule_of_accumulation_counts_as_accumulation(tmp_path: Path) -> None:
    schedule = L.pytorch.callbacks.GradientAccumulationScheduler({4: 3})
    with pytest.raises(IncompatibleError, match=r"Gramian\(UPGradWeighting\).*accumulate_grad_batches=3.*lagged=True"):
        fit(Model(make(Gramian(UPGradWeighting()))), tmp_path, callbacks=[schedule])


class Adversarial(L.LightningModule):
    """Two losses with an optimizer each; the second takes a step for every three of the first."""

    def __init__(self, sizes: tuple[float, float] = (1.0, 1.0)) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.nets = nn.ModuleList(Model(make(GradNorm()), size, branch=True) for size in sizes)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        for net, optimizer, accumulate in zip(self.nets, self.optimizers(), (1, 3), strict=True):
            loss = net.training_step(batch, batch_idx)
            manual_step(self, optimizer, loss, batch_idx, criterion=net.criterion, accumulate=accumulate)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [net.configure_optimizers() for net in self.nets]


def test_losses_of_two_optimizers_step_each_with_its_own(tmp_path: Path) -> None:
    model = Adversarial()
    fit(model, tmp_path, 7)
    assert [net.criterion.steps for net in model.nets] == [7, 3]


def test_an_overflow_of_one_optimizer_is_no_other_ones(tmp_path: Path) -> None:
    model = Adversarial(sizes=(1.0, 1e6))
    fit(model, tmp_path, 6, **half_precision(2.0**6))
    first, second = (net.criterion.steps for net in model.nets)
    assert first == 6
    assert second < 2
