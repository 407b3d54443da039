"""The monitor's numbers are those of the Hessian, on any module and whatever it is trained with."""

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import ModelParallelStrategy
from parity.ranks import on_ranks
from parity.training import quiet
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.func import functional_call, hessian
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from lightning_losses import LossModule, Term
from lightning_losses.callbacks import HessianTraceMonitor, IncompatibleError
from lightning_losses.curvature import differentiable_twice
from lightning_losses.losses import MSE, CrossEntropy, Dice

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


def exact_trace(model: L.LightningModule, batch: tuple[Tensor, Tensor]) -> float:
    """The trace of the whole Hessian by brute force, in float64, in evaluation mode."""
    return sum(trace for trace, _ in exact_blocks(model, batch))


def exact_blocks(model: L.LightningModule, batch: tuple[Tensor, Tensor]) -> list[tuple[float, float]]:
    """The trace of each parameter's block of the Hessian, and the parameter's squared norm."""
    at = {name: p.detach().double() for name, p in model.net.named_parameters() if p.requires_grad}
    rest = {name: t.double() for name, t in model.net.named_buffers() if t.is_floating_point()}
    rest |= {name: p.detach().double() for name, p in model.net.named_parameters() if not p.requires_grad}
    x, y = (t.double() if t.is_floating_point() else t for t in batch)
    modes = [module.training for module in model.net.modules()]
    model.net.eval()
    with differentiable_twice():
        blocks = hessian(lambda p: model.loss(functional_call(model.net, p | rest, x), y))(at)
    for module, mode in zip(model.net.modules(), modes, strict=True):
        module.training = mode
    return [(float(blocks[n][n].reshape(p.numel(), -1).trace()), float(p.square().sum())) for n, p in at.items()]


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
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4, momentum=0.0), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=6, dropout=0.1, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3))


def compiled() -> nn.Module:
    net = mlp()
    net.compile(backend="aot_eager")
    return net


class Frozen(nn.Module):
    """With a frozen layer and an unused one."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.unused = mlp(), nn.Linear(2, 2)
        self.net[0].requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool]] = {
    "relu": (mlp, (INPUTS,), True),
    "conv, batch norm, max pool": (normalized, (2, 6, 6), True),
    "compiled": (compiled, (INPUTS,), True),
    "checkpointed": (Checkpointed, (INPUTS,), True),
    "frozen and unused": (Frozen, (INPUTS,), True),
    "tied": (Tied, (INPUTS,), False),
    "gelu": (lambda: mlp(nn.GELU), (INPUTS,), False),
    "lstm": (Recurrent, (5, 3), False),
    "attention": (attention, (3, 4), False),
}


def still(p: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(p, lr=0.0)


@pytest.mark.parametrize(
    ("name", "matrix"),
    [(name, "Hessian") for name in NETWORKS]
    + [(name, "auto") for name, (*_, certified) in NETWORKS.items() if certified],
)
def test_on_average_it_finds_the_trace_by_brute_force(name: str, matrix: str) -> None:
    make, shape, _ = NETWORKS[name]
    torch.manual_seed(0)
    model, batch = Model(make(), optimizer=still), batches(shape=shape)[0]
    seen = fit(model, [batch] * 60, matrix=matrix)
    blocks = exact_blocks(model, batch)
    exact = {
        "total": sum(trace for trace, _ in blocks),
        "layer_normalized": sum(trace * norm for trace, norm in blocks),
    }
    for column, expected in exact.items():
        values = torch.tensor([found[f"trace/{column}"][0] for found, _ in seen], dtype=torch.float64)
        assert abs(values.mean() - expected) < 4 * values.std() / len(values) ** 0.5


@pytest.mark.parametrize("name", NETWORKS)
def test_it_says_whether_it_is_the_hessian(name: str) -> None:
    make, shape, certified = NETWORKS[name]
    torch.manual_seed(0)
    monitor = HessianTraceMonitor(every_n_steps=1, sharpness=None)
    trainer = fit_with(monitor, Model(make()), batches(shape=shape)[:2])
    assert float(trainer.callback_metrics["curvature/is_hessian"]) == certified


def fit_with(monitor: L.Callback, model: L.LightningModule, data: list[Any], **trainer: Any) -> L.Trainer:
    trainer = L.Trainer(**{
        "accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "callbacks": [monitor],
    } | trainer)  # fmt: skip
    with quiet():
        trainer.fit(model, DataLoader(data, batch_size=None))
    return trainer


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "16-mixed"])
def test_precision_plugins_change_nothing_but_rounding(precision: str) -> None:
    """It looks outside autocast and knows nothing of a scaler, at the parameters that training has led to."""
    plugins = [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))] if precision == "16-mixed" else []
    options = {"plugins": plugins} if plugins else {"precision": precision}
    model = Model(nn.Linear(INPUTS, 1), loss=lambda z, y: binary_cross_entropy_with_logits(z, y.unsqueeze(1).to(z) / 2))

    def closed_form(model: Model, batch: tuple[Tensor, Tensor]) -> float:
        p = model.net(batch[0].to(model.net.weight)).sigmoid().detach()
        return float((p * (1 - p) * (batch[0].to(p).square().sum(1, keepdim=True) + 1)).mean())

    for found, exact in fit(model, batches(), closed_form, options):
        assert found["trace/total"][0] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    "options", [{"accumulate_grad_batches": 3}, {"gradient_clip_val": 0.01}], ids=["accumulation", "clipping"]
)
def test_the_loss_is_not_divided_and_no_gradient_clipped(options: dict[str, Any]) -> None:
    model = Model(nn.Linear(INPUTS, 1), loss=lambda z, y: nn.functional.mse_loss(z, torch.ones_like(z)))
    for found, exact in fit(model, batches(), lambda m, b: float(2 * (b[0].square().sum(1) + 1).mean()), options):
        assert found["trace/total"][0] == pytest.approx(exact, rel=1e-5)


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


def test_terms_and_layers_add_up_to_the_total() -> None:
    model = Terms(kind=CrossEntropy(), size=Term(MSE(), weight=0.5, inputs=["input", "extent"]))
    columns = ("total", "net.0", "net.2", "layer_normalized", "term/kind", "term/size")
    for found, _ in fit(model, batches(), per_term=True):
        values = {name: value for name, (value, _) in found.items()}
        assert set(values) == {f"trace/{name}" for name in columns}
        assert values["trace/net.0"] + values["trace/net.2"] == pytest.approx(values["trace/total"])
        assert values["trace/term/kind"] + values["trace/term/size"] == pytest.approx(values["trace/total"])


def test_a_loss_without_known_hessian_in_the_outputs_is_measured_by_hutchinson() -> None:
    model = Terms(kind=CrossEntropy(), overlap=Dice())
    seen = fit(model, batches()[:1] * 80)
    values = torch.tensor([found["trace/total"][0] for found, _ in seen], dtype=torch.float64)
    plain = Model(model.net, loss=lambda z, y: CrossEntropy()(z, y) + Dice()(z, y))
    assert abs(values.mean() - exact_trace(plain, batches()[0])) < 4 * values.std() / len(values) ** 0.5


def test_a_penalty_that_starts_later_changes_the_way() -> None:
    """From then on the whole loss is measured by Hutchinson's probes: the penalty adds 2 a weight, exactly."""

    class Late(Model):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            loss = nn.functional.mse_loss(self.net(batch[0]), torch.ones(SAMPLES, 1))
            return loss + self.net.weight.square().sum() if batch_idx > 2 else loss

    def exact(model: Model, batch: tuple[Tensor, Tensor]) -> float:
        return float(2 * batch[0].square().sum(1).mean())

    seen = fit(Late(nn.Linear(INPUTS, 1, bias=False), optimizer=still), batches()[:1] * 80, exact)
    assert all(found["trace/total"][0] == pytest.approx(trace) for found, trace in seen[:3])
    values = torch.tensor([found["trace/total"][0] for found, _ in seen[3:]])
    assert abs(values.mean() - (seen[0][1] + 2 * INPUTS)) < 4 * values.std() / len(values) ** 0.5


@pytest.mark.parametrize(
    ("optimizer", "limit"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 20.0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5), 30.0),
    ],
    ids=["sgd", "momentum"],
)
def test_lambda_max_is_that_of_the_hessian_and_stability_what_it_is_of_the_limit(optimizer: Any, limit: float) -> None:
    def exact(model: Model, batch: tuple[Tensor, Tensor]) -> float:
        at = {name: p.detach() for name, p in model.net.named_parameters()}
        blocks = hessian(lambda p: model.loss(functional_call(model.net, p, batch[0]), batch[1]))(at)
        rows = [torch.cat([blocks[a][b].reshape(at[a].numel(), -1) for b in at], 1) for a in at]
        return float(torch.linalg.eigvalsh(torch.cat(rows))[-1])

    torch.manual_seed(0)
    seen = fit(Model(mlp(nn.Tanh), optimizer=optimizer), batches()[:1] * 12, exact, sharpness="lambda_max")
    for found, largest in seen[4:]:  # three products a look, each from where the last has ended
        assert found["lambda_max"][0] == pytest.approx(largest, rel=0.05)
        assert abs(found["lambda_max"][0] - largest) <= found["residual"][0] + 1e-5
        assert found["stability"][0] == pytest.approx(found["lambda_max"][0] / limit, rel=1e-5)


def test_under_adam_stability_is_of_the_preconditioned_hessian() -> None:
    """With the second moment as it stands, by brute force."""

    def exact(model: Model, batch: tuple[Tensor, Tensor]) -> float:
        optimizer = model.optimizers().optimizer
        states = [optimizer.state.get(p) for p in model.net.parameters()]
        if not states[0]:
            return math.nan
        roots = [((s["exp_avg_sq"] / (1 - 0.999 ** s["step"])).sqrt() + 1e-8) * (1 - 0.9 ** s["step"]) for s in states]
        scale = torch.cat([(0.01 / root).sqrt().flatten() for root in roots])
        at = {name: p.detach() for name, p in model.net.named_parameters()}
        blocks = hessian(lambda p: model.loss(functional_call(model.net, p, batch[0]), batch[1]))(at)
        rows = [torch.cat([blocks[a][b].reshape(at[a].numel(), -1) for b in at], 1) for a in at]
        return float(torch.linalg.eigvalsh(scale[:, None] * torch.cat(rows) * scale)[-1]) / 38.0

    torch.manual_seed(0)
    model = Model(mlp(nn.Tanh), optimizer=lambda p: torch.optim.Adam(p, lr=0.01))
    seen = fit(model, batches()[:1] * 30, exact, sharpness="lambda_max")
    assert math.isnan(seen[0][0]["stability"][0])
    for found, ratio in seen[15:]:
        assert found["stability"][0] == pytest.approx(ratio, rel=0.1)


def test_critical_sharpness_of_a_quadratic_is_its_curvature_along_the_step() -> None:
    def exact(model: Model, batch: tuple[Tensor, Tensor]) -> float:
        z = model.net(batch[0])
        (slope,) = torch.autograd.grad(nn.functional.mse_loss(z, torch.ones_like(z)), model.net.weight)
        features = batch[0]
        return float(0.05 * 2 * (features @ slope.T).square().mean() / slope.square().sum() / 2)

    model = Model(nn.Linear(INPUTS, 1, bias=False), loss=lambda z, y: nn.functional.mse_loss(z, torch.ones_like(z)))
    for found, ratio in fit(model, batches(), exact, sharpness="critical"):
        assert found["critical"][0] == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize("sharpness", ["lambda_max", "critical"])
def test_a_batch_without_a_finite_loss_is_left_out(sharpness: str) -> None:
    data = batches()
    data[2][0][0, 0] = math.nan
    seen = fit(Model(mlp(nn.Tanh)), data[:3], sharpness=sharpness)
    assert [math.isnan(found[sharpness][0]) for found, _ in seen] == [False, False, True]


def test_a_resumed_monitor_goes_on_from_its_estimates(tmp_path: Path) -> None:
    def monitor() -> HessianTraceMonitor:
        return HessianTraceMonitor(every_n_steps=2, sharpness=None)

    first, second = monitor(), monitor()
    trainer = fit_with(first, Model(mlp()), batches(), enable_checkpointing=True, default_root_dir=tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"][first.state_key]
    second.load_state_dict(state)
    second.on_fit_start(trainer, trainer.lightning_module)
    assert second.bands(STEPS) == first.bands(STEPS) != {}
    assert repr(second.state_dict()) == repr(first.state_dict())


def test_what_a_training_does_not_pay_for_is_not_looked_at_and_said(caplog: pytest.LogCaptureFixture) -> None:
    monitor = HessianTraceMonitor(budget=0.5)
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        fit_with(monitor, Model(mlp()), batches() * 6)
    assert "trace/total" in monitor.latest
    assert "lambda_max" not in monitor.latest
    assert (
        "does not look at lambda_max: a look costs the time of some 30 steps, which 25.0% of 36 batches" in caplog.text
    )


class Nothing(Model):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        return None


def test_a_step_without_a_loss_is_left_out_and_said() -> None:
    with pytest.warns(UserWarning, match=r"curvature at step 0 was not measured: `training_step` must return a loss"):
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[HessianTraceMonitor(every_n_steps=1, sharpness=None)],
        )  # fmt: skip
        trainer.fit(Nothing(mlp()), DataLoader(batches(), batch_size=None))


@pytest.mark.parametrize(
    ("make", "options", "error", "words"),
    [
        (
            lambda: Terms(kind=CrossEntropy(), overlap=Dice()),
            {"matrix": "GGN"},
            IncompatibleError,
            "The loss Dice is no sum",
        ),
        (lambda: Model(mlp()), {"optimizer": 1}, ValueError, "`optimizer` must be one of 1, found index 1"),
        (lambda: Model(mlp()), {"groups": {"trunk": "body.*"}}, ValueError, "must match a parameter, found 'body.*'"),
        (
            lambda: Model(mlp()),
            {"groups": {"total": "net.*"}},
            ValueError,
            "`groups` must be named otherwise than 'total'",
        ),
    ],
    ids=["no likelihood", "no such optimizer", "no such layer", "a name that is taken"],
)
def test_what_cannot_be_measured_is_refused_by_name(
    make: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit_with(HessianTraceMonitor(every_n_steps=1, **options), make(), batches())


def test_a_loss_that_cannot_be_differentiated_twice_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(*args: Any) -> None:
        raise RuntimeError("The loss must be made of operations that can be differentiated twice, and one cannot.")

    monkeypatch.setattr("lightning_losses.callbacks.eigenvalue_probe.HessianOperator", once)
    assert len(fit(Model(mlp()), batches(), sharpness="critical")) == STEPS
    with pytest.raises(IncompatibleError, match='one cannot. Instead, take sharpness="critical"'):
        fit(Model(mlp()), batches(), sharpness="lambda_max")


@pytest.mark.parametrize(
    ("options", "sizes", "words"),
    [
        ({}, (2, 1), 'HessianTraceMonitor(sharpness="lambda_max") does not work with ModelParallelStrategy'),
        ({"sharpness": "critical"}, (2, 1), "Instead, take sharpness=None, or use DDPStrategy."),
        ({"sharpness": None, "matrix": "Hessian"}, (2, 1), 'Instead, take matrix="auto", or use DDPStrategy.'),
        ({"sharpness": None}, (1, 2), "HessianTraceMonitor does not work with tensor_parallel_size=2"),
    ],
    ids=["lambda_max", "critical", "Hessian", "tensor parallel"],
)
def test_what_needs_parameters_whole_is_refused_of_shards(
    options: dict[str, Any], sizes: tuple[int, int], words: str
) -> None:
    strategy = ModelParallelStrategy(*sizes)
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False)
    with pytest.raises(IncompatibleError, match=re.escape(words)):
        HessianTraceMonitor(**options).setup(trainer, Model(mlp()), "fit")


class Sharded(Model):
    """FSDP2 where the strategy is one for it."""

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            for part in self.net:
                if list(part.parameters()):
                    fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def sharded_on_rank(rank: int, folder: Path) -> list[Any]:
    """What a rank finds under DDP and under FSDP2, and what it says of a network without formula."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Embedding(5, 6), nn.Flatten(), nn.Linear(18, 6), nn.BatchNorm1d(6, momentum=0.0), nn.ReLU(), nn.Linear(6, 3)
    )
    data = [(x.mul(9).long().remainder(5), y) for x, y in batches(rank, shape=(3,))]

    def fsdp() -> ModelParallelStrategy:
        return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)

    found = [
        fit(Sharded(copy.deepcopy(net)), data, trainer={"devices": 2, "strategy": strategy})
        for strategy in ("ddp", fsdp())
    ]
    try:
        fit(Sharded(nn.Sequential(Recurrent())), batches(shape=(5, 3)), trainer={"devices": 2, "strategy": fsdp()})
    except IncompatibleError as error:
        found.append(str(error))
    return found


def test_shards_have_the_trace_of_the_whole(tmp_path: Path) -> None:
    """Also the layer-normalised one, whose norms are those of whole parameters; a layer without formula is named."""
    for ddp, fsdp, refusal in on_ranks(sharded_on_rank, tmp_path):
        for (expected, _), (found, _) in zip(ddp, fsdp, strict=True):
            assert found.keys() == expected.keys()
            for name, (value, error) in expected.items():
                assert found[name] == pytest.approx((value, error), rel=1e-4)
        assert "No formula gives the norms of single samples at net.0.rnn.weight_ih_l0" in refusal


def test_every_layer_with_a_formula_has_its_error_known() -> None:
    """BatchNorm has one in the mode in which it is measured, though not in that of the training."""
    found, _ = fit(Model(normalized()), batches(shape=(2, 6, 6)))[0]
    assert all(error > 0 for _, error in found.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": 0.0}, "`budget` must be above 0 and below 1, found 0.0"),
        ({"budget": 1.5}, "`budget` must be above 0 and below 1, found 1.5"),
        ({"every_n_steps": 0}, "`every_n_steps` must be at least 1, found 0"),
        ({"matrix": "fisher"}, "`matrix` must be one of 'auto', 'Hessian', 'GGN', found 'fisher'"),
        ({"mode": "test"}, "`mode` must be one of 'eval', 'train', found 'test'"),
        ({"sharpness": "max"}, "`sharpness` must be one of 'lambda_max', 'critical', found 'max'"),
        ({"depth": 0}, "`depth` must be at least 1, found 0"),
        ({"optimizer": -1}, "`optimizer` must be at least 0, found -1"),
    ],
)
def test_arguments_out_of_range_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HessianTraceMonitor(**options)
