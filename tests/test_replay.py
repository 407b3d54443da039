"""A training step that is run again gives the loss it gave, and leaves nothing behind."""

import copy
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from parity.training import quiet
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lightning_losses import LossModule
from lightning_losses.balancers import DynamicWeightAverage
from lightning_losses.callbacks import manual_step
from lightning_losses.callbacks.random_state import get_generators
from lightning_losses.callbacks.replay import Replay
from lightning_losses.callbacks.stand_ins import NoLossError
from lightning_losses.losses import MSE, SmoothL1
from lightning_losses.watch import ValueWatch


class Messy(L.LightningModule):
    """Does in its step whatever people do in one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))
        self.criterion = LossModule({"near": MSE(), "far": SmoothL1()}, DynamicWeightAverage(period=1))
        self.metrics, self.mean = MetricCollection([MulticlassAccuracy(3)]), MeanMetric()
        self.calls, self.seen, self.recent, self.last = 0, [], deque(maxlen=2), {"batch": None}
        self.cache, self.running_max = torch.zeros(2), nn.Buffer(torch.zeros(()))
        self.noise, self.dice = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        out = self.net(batch["x"].add_(1.0))
        jitter = torch.randn((), generator=self.noise) + random.random() + np.random.rand() + self.dice.random()
        target = nn.functional.one_hot(batch["y"], 3) + jitter + torch.rand(())
        self.calls += 1
        self.seen.append(out)
        self.recent.append(self.seen)
        self.last["batch"] = batch_idx
        self.cache += out.detach()[0, :2]
        self.running_max.copy_(torch.maximum(self.running_max, out.detach().max()))
        self.metrics(out, batch["y"])
        self.mean(out.detach().mean())
        self.log("mean", self.mean)
        self.log("mine", out.mean(), on_step=True, on_epoch=True)
        self.logger.log_metrics({"direct": 1.0})
        return {"loss": cross_entropy(out, batch["y"]) + self.criterion(out, target.float())}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Look(L.Callback):
    """Calls a function with the model and the batch before each of its steps."""

    def __init__(self, look: Callable[..., None]) -> None:
        self.look = look
        self.looks = 0

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.look(model, batch, batch_idx)
        self.looks += 1


def fit(model: L.LightningModule, look: Callable[..., None], folder: Path, **kwargs: Any) -> L.Trainer:
    L.seed_everything(1, verbose=False)
    callback = Look(look)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=CSVLogger(folder), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1, callbacks=[callback], **kwargs,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(2)
    data = [
        {"x": torch.randn(6, 4, generator=generator), "y": torch.randint(3, (6,), generator=generator)}
        for _ in range(3)
    ]
    with quiet():
        trainer.fit(model, DataLoader(data, batch_size=None))
    assert callback.looks == 3
    return trainer


def everything(model: L.LightningModule, batch: Any) -> str:
    """All that there is, as text: tensors with all their digits."""
    torch.set_printoptions(precision=17, threshold=10**6)
    tensors = {name: (t, t.grad, t.requires_grad) for name, t in model.named_parameters()} | dict(model.named_buffers())
    skipped = ("_trainer", "_fabric", "_modules", "noise", "dice")
    attributes = [{k: v for k, v in vars(m).items() if k not in skipped} for m in model.modules()]
    states = (model.noise.get_state().sum(), model.dice.bit_generator.state, get_generators())
    logged = (model.trainer.callback_metrics, [id(logger) for logger in model.trainer.loggers])
    text = repr((tensors, attributes, states, logged, batch))
    torch.set_printoptions(profile="default")
    return text


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    def look(model: Messy, batch: Any, batch_idx: int) -> None:
        before = everything(model, batch)
        replay = Replay(model, batch, batch_idx)
        losses = [replay(replay.parameters) for _ in range(2)]
        assert everything(model, batch) == before
        assert losses[0] == losses[1]  # and every run draws the same

    fit(Messy(), look, tmp_path)


class OnTheWay:
    """Numbers that CUDA has not computed yet; they have nothing that could be read."""

    device = torch.device("cuda")


class Watched(Messy):
    """Looks at numbers of CUDA when it is run again."""

    watch: ValueWatch | None = None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        if self.watch is not None:
            self.watch.look(OnTheWay(), lambda values: None)
        return super().training_step(batch, batch_idx)


def test_numbers_that_arrive_later_are_left_alone(tmp_path: Path) -> None:
    """Where a measurement has gone a loss may be infinite: no later step may be blamed for it."""

    def look(model: Watched, batch: Any, batch_idx: int) -> None:
        model.watch = ValueWatch()
        replay = Replay(model, batch, batch_idx)
        replay(replay.parameters)
        with pytest.raises(AttributeError, match="shape"):  # outside of a replay they are read
            model.watch.look(OnTheWay(), lambda values: None)
        model.watch = None

    fit(Watched(), look, tmp_path)


def test_the_fingerprint_sees_what_a_bare_step_leaves_behind(tmp_path: Path) -> None:
    def look(model: Messy, batch: Any, batch_idx: int) -> None:
        before = everything(model, batch)
        model.training_step(copy.deepcopy(batch), batch_idx)
        assert everything(model, batch) != before

    fit(Messy(), look, tmp_path)


class Plain(L.LightningModule):
    """Its loss in evaluation mode is easily computed."""

    def __init__(self, returns: Callable[[Tensor], Any] = lambda loss: loss) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.net[0].bias.requires_grad_(False)
        self.returns = returns

    def training_step(self, batch: dict[str, Tensor]) -> Any:
        return self.returns(cross_entropy(self.net(batch["x"]), batch["y"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_it_is_the_loss_of_the_given_parameters(tmp_path: Path, mode: str, precision: str, compiled: bool) -> None:
    def look(model: Plain, batch: Any, batch_idx: int) -> None:
        replay = Replay(model, batch, batch_idx, mode=mode)
        assert "net.0.bias" not in replay.parameters
        leaves = {name: (1.5 * p).requires_grad_() for name, p in replay.parameters.items()}
        loss = replay(leaves)
        other = copy.deepcopy(model.net).eval()
        other[1].train(mode == "train")
        other.load_state_dict(leaves | {"0.bias": other[0].bias} | dict(other.named_buffers()), strict=False)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                parameter.copy_(leaves.get(f"net.{name}", parameter))
        assert loss.dtype == model.net[0].weight.dtype
        assert loss.detach() == cross_entropy(other(batch["x"].to(loss)), batch["y"]).detach()
        assert all(g is not None for g in torch.autograd.grad(loss, list(leaves.values())))

    model = Plain()
    if compiled:
        model.net.compile(backend="aot_eager")
    fit(model, look, tmp_path, precision=precision)


@pytest.mark.parametrize(
    ("returns", "words"),
    [
        (lambda loss: None, "must return a loss"),
        (lambda loss: {"value": loss}, "under 'loss'"),
        (lambda loss: loss.expand(2), r"shape \(2,\)"),
    ],
    ids=["nothing", "no loss in the dict", "two numbers"],
)
def test_a_step_without_a_loss_is_named(tmp_path: Path, returns: Callable[[Tensor], Any], words: str) -> None:
    def look(model: Plain, batch: Any, batch_idx: int) -> None:
        replay = Replay(model, batch, batch_idx)
        model.returns = returns
        with pytest.raises(NoLossError, match=words):
            replay(replay.parameters)
        model.returns = lambda loss: loss

    fit(Plain(), look, tmp_path)


class Two(L.LightningModule):
    """Manual optimization with two optimizers, in the two ways in which it is written."""

    def __init__(self, by_hand: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.by_hand = by_hand
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        optimizers = self.optimizers()
        target = nn.functional.one_hot(batch["y"], 3).float()
        for scale, net, optimizer in zip((1.0, 2.0), (self.one, self.other), optimizers, strict=True):
            loss = scale * mse_loss(net(batch["x"]), target)
            if self.by_hand:
                self.toggle_optimizer(optimizer)
                optimizer.zero_grad()
                self.manual_backward(loss)
                self.clip_gradients(optimizer, gradient_clip_val=0.01)
                assert optimizer.param_groups[0]["lr"] == 0.1
                optimizer.step()
                self.untoggle_optimizer(optimizer)
            else:
                manual_step(self, optimizer, loss, batch_idx, accumulate=2, clip_norm=0.01)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(net.parameters(), lr=0.1) for net in (self.one, self.other)]


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "manual_step"])
def test_under_manual_optimization_the_loss_is_that_of_the_named_optimizer(tmp_path: Path, by_hand: bool) -> None:
    def look(model: Two, batch: Any, batch_idx: int) -> None:
        before = [(p.clone(), p.grad, p.requires_grad) for p in model.parameters()]
        target = nn.functional.one_hot(batch["y"], 3).float()
        for index, (scale, net) in enumerate([(1.0, model.one), (2.0, model.other)]):
            replay = Replay(model, batch, batch_idx, optimizer=index)
            assert replay(replay.parameters) == scale * mse_loss(net(batch["x"]), target)
        for (value, gradient, trained), parameter in zip(before, model.parameters(), strict=True):
            assert torch.equal(value, parameter)
            assert gradient is parameter.grad
            assert trained is parameter.requires_grad

    fit(Two(by_hand), look, tmp_path)
