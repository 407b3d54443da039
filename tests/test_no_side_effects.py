"""A monitor watches: with it or without it, a training is the same bit by bit."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from parity.ranks import on_ranks
from parity.training import quiet
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from lightning_losses import LossModule, Term
from lightning_losses.balancers import GradNorm
from lightning_losses.callbacks import (
    GradientNormMonitor,
    HessianTraceMonitor,
    LossSurfacePlot,
    NormalizedLossMonitor,
    TermGradientMonitor,
)
from lightning_losses.losses import MSE, SmoothL1

MONITORS: dict[str, Callable[[], L.Callback]] = {
    "gradient norm": lambda: GradientNormMonitor(every_n_steps=1),
    "term gradients at features": lambda: TermGradientMonitor(every_n_steps=1),
    "term gradients at parameters": lambda: TermGradientMonitor(every_n_steps=1, shared="trunk.*", per_layer=True),
    "normalised loss": lambda: NormalizedLossMonitor(every_n_steps=1, save_batch=True, plateau_steps=1),
    "hessian trace and eigenvalue": lambda: HessianTraceMonitor(every_n_steps=2, per_term=True),
    "hessian by probes, critical sharpness": lambda: HessianTraceMonitor(
        every_n_steps=2, matrix="Hessian", mode="train", sharpness="critical"
    ),
    "hessian trace": lambda: HessianTraceMonitor(every_n_steps=2, sharpness=None),
    "loss surface": lambda: LossSurfacePlot(directions="eigen", points=5, batches=2, max_seconds=1.0),
}
NEED_WHOLE_PARAMETERS = {
    "term gradients at parameters", "hessian trace and eigenvalue", "hessian by probes, critical sharpness", "loss surface"
}  # fmt: skip
STEPS = 5


@dataclass(frozen=True)
class Way:
    """One way to train."""

    id: str
    ranks: int = 1
    accumulate: int = 1
    half: bool = False
    compiled: bool = False
    fused: bool = False
    clip: float | None = None
    sharded: bool = False

    @property
    def strategy(self) -> Strategy | str:
        if self.sharded:
            return ModelParallelStrategy(data_parallel_size=self.ranks, tensor_parallel_size=1)
        return DDPStrategy(timeout=timedelta(minutes=2)) if self.ranks > 1 else "auto"

    def suits(self, monitor: str | None) -> bool:
        return not (self.sharded and monitor in NEED_WHOLE_PARAMETERS)


WAYS = [
    Way("eager"),
    Way("accumulation and clipping", accumulate=2, clip=0.5),
    Way("compiled", compiled=True),
    Way("float16, overflowing", half=True),
    Way("float16, fused, accumulation", half=True, fused=True, accumulate=2),
    Way("ddp", ranks=2),
    Way("ddp, accumulation", ranks=2, accumulate=2),
    Way("ddp, float16", ranks=2, half=True),
    Way("fsdp2", ranks=2, sharded=True),
    Way("fsdp2, accumulation", ranks=2, accumulate=2, sharded=True),
]
RANKED = [(monitor, way) for monitor in (None, *MONITORS) for way in WAYS if way.ranks > 1 and way.suits(monitor)]


class Model(L.LightningModule):
    """Has all that a monitor might disturb: BatchNorm, dropout, a frozen layer, a balancer, hooks and a log of its own."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.way = way
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 6))
        self.near, self.far, self.frozen = nn.Linear(6, 1), nn.Linear(6, 1), nn.Linear(4, 4).requires_grad_(False)
        terms = {"near": Term(MSE(), inputs=["near", "target"]), "far": Term(SmoothL1(), inputs=["far", "target"])}
        self.criterion = LossModule(terms, GradNorm())
        self.hook_calls: Counter[str] = Counter()
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:  # as wandb.watch does
                parameter.register_hook(lambda gradient, name=name: self.hook_calls.update([name]))
        if way.compiled:
            for part in (self.trunk, self.near, self.far):
                part.compile(backend="aot_eager")

    def configure_model(self) -> None:
        if self.way.sharded:
            for part in (self.trunk, self.near, self.far):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        features = self.trunk(self.frozen(batch))
        target = batch.sum(1, keepdim=True) + random.random() + np.random.rand()
        loss = self.criterion(near=self.near(features), far=self.far(features), target=target, shared=features)
        self.log("mine", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=0.01, fused=self.way.fused)


class Witness(L.Callback):
    """Everything that must be the same, at the end of every batch and of the fit."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: L.Trainer, model: Model, *args: Any) -> None:
        self.seen.append(state_of(trainer, model))

    def on_fit_end(self, trainer: L.Trainer, model: Model) -> None:
        self.seen.append(state_of(trainer, model))


def state_of(trainer: L.Trainer, model: Model) -> dict[str, Any]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return {
        "tensors": {name: copied(tensor) for name, tensor in tensors},
        "gradients": {name: None if p.grad is None else copied(p.grad) for name, p in model.named_parameters()},
        "optimizer": [
            {k: copied(v) if isinstance(v, Tensor) else v for k, v in state.items()}
            for state in trainer.optimizers[0].state.values()
        ],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),
        "scaler": None if scaler is None else scaler.state_dict(),
        "modes": [module.training for module in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "hooks": [hooks_of(module) for module in model.modules()] + [tensor_hooks(p) for p in model.parameters()],
        "logged": {name: value for name, value in trainer.callback_metrics.items() if name.startswith("mine")},
        "hook calls": dict(model.hook_calls),
        "listeners": len(model.criterion.listeners),
        "global_step": trainer.global_step,
    }


def copied(tensor: Tensor) -> Tensor:
    """What this rank holds of it."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach().clone()


def hooks_of(module: nn.Module) -> list[int]:
    return [len(value) for name, value in vars(module).items() if name.endswith("_hooks")]


def tensor_hooks(parameter: Tensor) -> int:
    return sum(len(hooks or ()) for hooks in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks))


def train(name: str | None, way: Way, rank: int, folder: Path) -> list[Any]:
    L.seed_everything(rank, verbose=False)
    scaler = {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**17))]}
    witness = Witness()
    trainer = L.Trainer(
        accelerator="cpu", devices=way.ranks, max_epochs=1, default_root_dir=folder, logger=False,
        strategy=way.strategy,
        accumulate_grad_batches=way.accumulate, gradient_clip_val=way.clip, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[*([MONITORS[name]()] if name else []), witness], **(scaler if way.half else {}),
    )  # fmt: skip
    data = torch.randn(STEPS * way.accumulate, 8, 4, generator=torch.Generator().manual_seed(rank))
    with quiet():
        trainer.fit(Model(way), DataLoader(list(data), batch_size=None))
    if name:  # it has done something, or the test would say nothing
        assert len(trainer.callback_metrics) > 2
    return witness.seen


def train_on_ranks(rank: int, folder: Path) -> dict[Any, Any]:
    found = {key: train(*key, rank, folder) for key in RANKED}
    return found


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, list[Any]]]:
    return on_ranks(train_on_ranks, tmp_path_factory.mktemp("ranks"))


def assert_same(one: Any, other: Any, where: str) -> None:
    assert type(one) is type(other), where
    if isinstance(one, Tensor):
        assert torch.equal(one.nan_to_num(), other.nan_to_num()), where
        assert torch.equal(one.isnan(), other.isnan()), where
    elif isinstance(one, (dict, list, tuple)):
        assert len(one) == len(other), where
        for key in one if isinstance(one, dict) else range(len(one)):
            assert_same(one[key], other[key], f"{where}/{key}")
    else:
        assert one == other, where


@pytest.mark.parametrize("way", [way for way in WAYS if way.ranks == 1])
@pytest.mark.parametrize("name", MONITORS)
def test_one_process_trains_as_if_nobody_watched(tmp_path: Path, name: str, way: Way) -> None:
    assert_same(train(name, way, 0, tmp_path), train(None, way, 0, tmp_path), way.id)


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, way in RANKED if name])
def test_ranks_train_as_if_nobody_watched(of_ranks: list[dict[Any, list[Any]]], name: str, way: Way) -> None:
    for rank, found in enumerate(of_ranks):
        assert_same(found[name, way], found[None, way], f"{way.id}, rank {rank}")
