"""The monitor's numbers are those of the Hessian, on any module and whatever it is trained with."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hessian_trace_problem import (
    INPUTS,
    SAMPLES,
    STEPS,
    Model,
    Recurrent,
    Terms,
    batches,
    fit,
    fit_with,
    mlp,
    normalized,
    still,
)
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.checkpoint import checkpoint

from lightning_losses import Term
from lightning_losses.callbacks import HessianTraceMonitor
from lightning_losses.curvature import differentiable_twice
from lightning_losses.losses import MSE, CrossEntropy, Dice


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


@pytest.mark.parametrize("under_fsdp2", [False, True])  # which restores callbacks after `on_fit_start`
def test_a_resumed_monitor_goes_on_from_its_estimates(tmp_path: Path, under_fsdp2: bool) -> None:
    def monitor() -> HessianTraceMonitor:
        return HessianTraceMonitor(every_n_steps=2, sharpness=None)

    first, second = monitor(), monitor()
    trainer = fit_with(first, Model(mlp()), batches(), enable_checkpointing=True, default_root_dir=tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"][first.state_key]
    restore, begin = partial(second.load_state_dict, state), partial(second.on_fit_start, trainer, trainer.model)
    for call in (begin, restore) if under_fsdp2 else (restore, begin):
        call()
    second.on_train_start(trainer, trainer.model)
    assert second.bands(STEPS) == first.bands(STEPS) != {}
    assert repr(second.state_dict()) == repr(first.state_dict())


def test_every_layer_with_a_formula_has_its_error_known() -> None:
    """BatchNorm has one in the mode in which it is measured, though not in that of the training."""
    found, _ = fit(Model(normalized()), batches(shape=(2, 6, 6)))[0]
    assert all(error > 0 for _, error in found.values())
