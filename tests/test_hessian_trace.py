"""The monitor's numbers are those of the Hessian, on any module and whatever it is trained with."""

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from parity.training import quiet
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from lightning_losses.callbacks.hessian_trace import HessianTraceMonitor

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


def exact_trace(model: L.LightningModule, batch: tuple[Tensor, Tensor], names: list[str] | None = None) -> float:
    """The trace of the whole Hessian by brute force, in float64, in evaluation mode."""
    at = {name: p.detach().double() for name, p in model.net.named_parameters() if p.requires_grad}
    rest = {name: t.double() for name, t in model.net.named_buffers() if t.is_floating_point()}
    x, y = (t.double() if t.is_floating_point() else t for t in batch)
    modes = [module.training for module in model.net.modules()]
    model.net.eval()
    blocks = hessian(lambda p: model.loss(functional_call(model.net, p | rest, x), y))(at)
    for module, mode in zip(model.net.modules(), modes, strict=True):
        module.training = mode
    return sum(float(blocks[n][n].reshape(at[n].numel(), -1).trace()) for n in names or at)


def test_the_trace_of_logistic_regression_is_its_closed_form() -> None:
    def closed_form(model: Model, batch: tuple[Tensor, Tensor]) -> float:
        p = model.net(batch[0]).sigmoid().detach()
        return float((p * (1 - p) * (batch[0].square().sum(1, keepdim=True) + 1)).mean())

    data = [(x, (y > 0).float().unsqueeze(1)) for x, y in batches()]
    for found, exact in fit(Model(nn.Linear(INPUTS, 1), binary_cross_entropy_with_logits), data, closed_form):
        assert found["trace/total"][0] == pytest.approx(exact, rel=1e-6)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(INPUTS, INPUTS, bias=False)
        self.outer = nn.Linear(INPUTS, INPUTS, bias=False)
        self.outer.weight = self.inner.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x).relu())


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(INPUTS, 6), nn.ReLU()), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, x, use_reentrant=False))


def mlp(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Linear(INPUTS, 6), activation(), nn.Linear(6, 3))


def normalized() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=6, dropout=0.1, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3))


def compiled() -> nn.Module:
    net = mlp()
    net.compile(backend="aot_eager")
    return net


def partly_frozen() -> nn.Module:
    net = mlp()
    net[0].requires_grad_(False)
    net.register_module("unused", None)
    return net


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool]] = {
    "relu": (mlp, (INPUTS,), True),
    "conv, batch norm, max pool": (normalized, (2, 6, 6), True),
    "compiled": (compiled, (INPUTS,), True),
    "checkpointed": (Checkpointed, (INPUTS,), True),
    "frozen": (partly_frozen, (INPUTS,), True),
    "tied": (Tied, (INPUTS,), False),
    "gelu": (lambda: mlp(nn.GELU), (INPUTS,), False),
    "lstm": (Recurrent, (5, 3), False),
    "attention": (attention, (3, 4), False),
}


def still(p: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(p, lr=0.0)


@pytest.mark.parametrize("matrix", ["auto", "Hessian"])
@pytest.mark.parametrize("name", NETWORKS)
def test_on_average_it_finds_the_trace_by_brute_force(name: str, matrix: str) -> None:
    make, shape, certified = NETWORKS[name]
    if matrix == "auto" and not certified:
        pytest.skip("finds the trace of another matrix, which its own tests compare")
    torch.manual_seed(0)
    model = Model(make(), optimizer=still)
    batch = batches(shape=shape)[0]
    seen = fit(model, [batch] * 60, exact_trace if False else lambda model, batch: None, matrix=matrix)
    values = torch.tensor([found["trace/total"][0] for found, _ in seen], dtype=torch.float64)
    assert abs(values.mean() - exact_trace(model, batch)) < 4 * values.std() / len(values) ** 0.5
