"""A small multi-task training, the same data in every cell however they are cut into ranks and micro-batches."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from torchjd.aggregation import IMTLGWeighting, UPGradWeighting

from lightning_losses import LossModule, Term
from lightning_losses.balancers import Balancer, DynamicWeightAverage, Fixed, GradNorm, Gramian, Uncertainty
from lightning_losses.callbacks import manual_step
from lightning_losses.losses import MSE, CrossEntropy, Dice, SmoothL1
from lightning_losses.schedules import Linear
from parity.cells import Cell

# Cells share compiled code, each with guards of its own; past the limit dynamo would run eager without a word.
torch._dynamo.config.recompile_limit = 1000
torch._dynamo.config.fail_on_recompile_limit_hit = True

BACKENDS = {"compiled": "aot_eager", "inductor": "inductor"}
STEPS, BATCH = 4, 16
CLIP = 2.0  # the largest norm of the gradient, exceeded in some steps and not in others
Record = dict[str, Tensor]


def make_balancer(name: str) -> Balancer:
    makers = {"gradnorm": lambda: GradNorm(initial_steps=2), "dwa": lambda: DynamicWeightAverage(period=1)}
    makers |= {"fixed": Fixed, "uncertainty": Uncertainty}
    kind, _, variant = name.partition("-")
    if kind in makers:
        return makers[kind]()
    weighting = {"upgrad": UPGradWeighting, "imtlg": IMTLGWeighting}[kind]()
    return Gramian(weighting, lagged=variant == "lagged")


def head(outputs: int) -> nn.Module:
    # Its activations are what a compiled backward would donate, and then refuse to be run twice.
    return nn.Sequential(nn.Linear(8, 6), nn.GELU(), nn.Linear(6, outputs))


class Model(L.LightningModule):
    """A trunk, a last shared layer, and three heads."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        torch.manual_seed(13)
        self.cell = cell
        self.automatic_optimization = cell.mode != "manual"
        self.trunk, self.neck = nn.Sequential(nn.Linear(6, 12), nn.Tanh()), nn.Linear(12, 8)
        self.heads = nn.ModuleDict({"kind": head(4), "size": head(2), "place": head(3)})
        self.unused = nn.Linear(2, 2) if cell.strategy == "ddp-unused" else None
        whole = cell.balancer == "gradnorm-global"
        first = Linear(start=1.0, end=3.0, steps=STEPS) if cell.balancer == "fixed" else 2.0
        self.criterion = LossModule(
            {
                "kind": Term(Dice() if whole else CrossEntropy(), weight=first, inputs=["kind", "label"]),
                "size": Term(
                    MSE(), inputs={"input": "size", "target": "extent"} | ({"mask": "known"} if whole else {})
                ),
                "place": Term(SmoothL1(), inputs=["place", "position"]),
            },
            balancer=make_balancer(cell.balancer),
            shared="neck" if cell.balancer.endswith("parameters") else None,
        )

    def configure_model(self) -> None:
        parts = (self.trunk, self.neck, *self.heads.values())
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            for part in parts:
                fully_shard(part, mesh=self.device_mesh["data_parallel"])
        if self.cell.mode in BACKENDS:
            for part in parts:
                part.compile(backend=BACKENDS[self.cell.mode])

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        features = torch.tanh(self.neck(self.trunk(batch["image"])))
        place = {"shared": features} if self.cell.measures and self.criterion.shared is None else {}
        if self.cell.balancer.endswith("branches"):
            place["shared"] = branches = self.criterion.branch(features)
        else:
            branches = dict.fromkeys(self.heads, features)
        outputs = {name: head(branches[name]) for name, head in self.heads.items()}
        targets = {key: value for key, value in batch.items() if key in self.criterion.inputs}
        loss = self.criterion(**outputs, **targets, **place)
        if self.automatic_optimization:
            return loss
        accumulate = self.cell.accumulate
        manual_step(
            self, self.optimizers(), loss, batch_idx, criterion=self.criterion, accumulate=accumulate, clip_norm=CLIP
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Recorder(L.Callback):
    """What every optimizer step saw: mean losses, weights and gradients of the global batch."""

    def __init__(self) -> None:
        self.record: Record = {}
        self.losses: list[Tensor] = []

    def on_train_batch_end(self, trainer: L.Trainer, model: Model, *args: Any) -> None:
        self.losses.append(torch.stack(list(model.criterion.report.raw.values())))
        if len(self.losses) == model.cell.accumulate:
            self.record |= {f"step {trainer.global_step}: {name}": found for name, found in self.of_step(model)}
            self.losses = []

    def of_step(self, model: Model) -> Iterator[tuple[str, Tensor]]:
        mean = torch.stack(self.losses).mean(0)
        if model.cell.ranks > 1:
            torch.distributed.all_reduce(mean)
        yield "losses", mean / model.cell.ranks
        yield "weights", torch.stack(list(model.criterion.report.weights.values()))
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                yield f"gradient of {name}", full(parameter.grad).clone()

    def on_fit_end(self, trainer: L.Trainer, model: Model) -> None:
        for name, value in model.state_dict().items():
            for key, leaf in (value if isinstance(value, dict) else {"": value}).items():
                self.record[f"end: {name} {key}".strip()] = full(torch.as_tensor(leaf)).clone()


def full(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def batches(cell: Cell, rank: int) -> list[dict[str, Tensor]]:
    """This rank's micro-batches."""
    generator = torch.Generator().manual_seed(7)
    found = []
    for _ in range(STEPS):
        image = torch.randn(BATCH, 6, generator=generator, dtype=torch.float64)
        batch = {
            "image": image,
            "label": (image[:, :2] > 0).long() @ torch.tensor([1, 2]),
            "extent": 5 * image[:, 2:4] + torch.randn(BATCH, 2, generator=generator, dtype=torch.float64),
            "position": image[:, 3:].square(),
            "known": image[:, 4:].sort(0).values > 0.3,  # of many in one rank, of few in the other
        }
        if cell.precision != "64-true":
            batch = {key: value.float() if value.is_floating_point() else value for key, value in batch.items()}
        for a in range(cell.accumulate):
            found.append({k: v.chunk(cell.accumulate)[a].chunk(cell.ranks)[rank] for k, v in batch.items()})
    return found


def strategy(cell: Cell) -> Any:
    if cell.strategy == "single":
        return "auto"
    soon = timedelta(minutes=2)  # ranks that wait for each other in vain should say so
    if cell.strategy == "fsdp2":
        return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1, timeout=soon)
    options = {"ddp": {}, "ddp-unused": {"find_unused_parameters": True}, "ddp-static": {"static_graph": True}}
    return DDPStrategy(timeout=soon, **options[cell.strategy])


def optimization(cell: Cell) -> dict[str, Any]:
    """What manual optimization leaves to `manual_step`."""
    automatic = {"accumulate_grad_batches": cell.accumulate, "gradient_clip_val": CLIP}
    return {} if cell.mode == "manual" else automatic


def precision(cell: Cell) -> dict[str, Any]:
    if cell.precision != "16-mixed":
        return {"precision": cell.precision}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)  # Lightning would take bfloat16 on the CPU
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


def train(cell: Cell, rank: int, folder: Path) -> Record:
    """What the cell's training comes to, on this rank.

    Raises:
        ValueError: the cell is refused.
    """
    recorder = Recorder()
    with quiet():
        if cell.mode == "resumed":
            half = STEPS // 2 * cell.accumulate
            fit(cell, batches(cell, rank)[:half], folder, [recorder, SaveAtTheEnd(folder / cell.id)], epochs=1)
            fit(cell, batches(cell, rank)[half:], folder, [recorder], epochs=2, checkpoint=folder / cell.id)
        else:
            fit(cell, batches(cell, rank), folder, [recorder], epochs=1)
    return recorder.record


def fit(
    cell: Cell,
    batches: list[dict[str, Tensor]],
    folder: Path,
    callbacks: list[L.Callback],
    epochs: int,
    checkpoint: Path | None = None,
) -> None:
    trainer = L.Trainer(
        accelerator="cpu", devices=cell.ranks, strategy=strategy(cell), **optimization(cell), **precision(cell),
        max_epochs=epochs, callbacks=callbacks, default_root_dir=folder, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    model = Model(cell)
    wrapped = torch.compile(model, backend="aot_eager") if cell.mode == "whole" else model
    trainer.fit(wrapped, DataLoader(batches, batch_size=None), ckpt_path=checkpoint)


class SaveAtTheEnd(L.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, model: Model) -> None:
        trainer.save_checkpoint(self.path)


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        yield
