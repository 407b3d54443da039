"""Small trainings under the trace monitor, and what it finds in them."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from parity.training import quiet
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from lightning_losses import LossModule
from lightning_losses.callbacks import HessianTraceMonitor

INPUTS, SAMPLES, STEPS = 4, 8, 6


class Model(L.LightningModule):
    """A network, its loss, its optimizer."""

    def __init__(
        self,
        net: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
        optimizer: Callable[..., torch.optim.Optimizer] = lambda p: torch.optim.SGD(p, lr=0.05),
    ) -> None:
        super().__init__()
        self.net, self.loss, self.optimizer = net, loss, optimizer

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())


def batches(rank: int = 0, classes: int = 3, shape: tuple[int, ...] = (INPUTS,)) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    return [
        (torch.randn(SAMPLES, *shape, generator=generator), torch.randint(classes, (SAMPLES,), generator=generator))
        for _ in range(STEPS)
    ]


class Witness(L.Callback):
    """What the monitor has found at every batch, beside the parameters and the batch at which it has looked."""

    def __init__(self, look: Callable[[L.LightningModule, Any], Any]) -> None:
        self.look = look
        self.before: Any = None
        self.seen: list[tuple[dict[str, tuple[float, float]], Any]] = []

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.before = self.look(model, batch)

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *args: Any) -> None:
        monitor = next(c for c in trainer.callbacks if isinstance(c, HessianTraceMonitor))
        self.seen.append((monitor.latest, self.before))


def fit(
    model: L.LightningModule,
    data: list[Any],
    look: Callable[[L.LightningModule, Any], Any] = lambda model, batch: None,
    trainer: dict[str, Any] | None = None,
    **options: Any,
) -> list[tuple[dict[str, tuple[float, float]], Any]]:
    witness, monitor = Witness(look), HessianTraceMonitor(**{"every_n_steps": 1, "sharpness": None} | options)
    with quiet():
        L.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[witness, monitor], **(trainer or {}),
        ).fit(model, DataLoader(data, batch_size=None))  # fmt: skip
    return witness.seen


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def mlp(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Linear(INPUTS, 6), activation(), nn.Linear(6, 3))


def normalized() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4, momentum=0.0), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def fit_with(monitor: L.Callback, model: L.LightningModule, data: list[Any], **trainer: Any) -> L.Trainer:
    trainer = L.Trainer(**{
        "accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "callbacks": [monitor],
    } | trainer)  # fmt: skip
    with quiet():
        trainer.fit(model, DataLoader(data, batch_size=None))
    return trainer


def still(p: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(p, lr=0.0)


class Terms(L.LightningModule):
    def __init__(self, **terms: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = mlp()
        self.criterion = LossModule(terms)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        z = self.net(batch[0])
        inputs = {"input": z, "target": batch[1], "extent": torch.zeros_like(z)}
        return self.criterion(**{name: value for name, value in inputs.items() if name in self.criterion.inputs})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return still(self.parameters())
