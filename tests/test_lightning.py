"""LossModule inside an ordinary LightningModule under automatic optimization, with nothing wired by the user."""

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_losses import LossModule
from lightning_losses.balancers import Balancer, DynamicWeightAverage, GradNorm, Uncertainty
from lightning_losses.losses import MSE


class Model(L.LightningModule):
    def __init__(self, balancer: Balancer | None = None, validation_scale: float = 1.0) -> None:
        super().__init__()
        self.trunk, self.head = nn.Linear(4, 8), nn.Linear(8, 1)
        self.criterion = LossModule({"mse": MSE(), "robust": MSE()}, balancer=balancer)
        self.validation_scale = validation_scale
        self.seen: list[Tensor] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        features = torch.tanh(self.trunk(batch[0]))
        loss: Tensor = self.criterion(self.head(features), batch[1], shared=features)
        self.log_dict(self.criterion.report.metrics("train/"))
        self.seen.append(loss.detach())
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        features = torch.tanh(self.trunk(batch[0]))
        self.log("val/loss", self.criterion(self.head(features) * self.validation_scale, batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def loader() -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)


def fit(model: Model, path: Path, ckpt: Path | None = None, **options: object) -> L.Trainer:
    trainer = L.Trainer(
        default_root_dir=path, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, logger=False,
        enable_checkpointing=False, **options,
    )  # fmt: skip
    trainer.fit(model, loader(), loader(), ckpt_path=ckpt)
    return trainer


def build(make, **options: object) -> Model:
    L.seed_everything(1)
    return Model(make(), **options)


MAKERS = {
    "fixed": lambda: None,
    "gradnorm": GradNorm,
    "uncertainty": Uncertainty,
    "dwa": lambda: DynamicWeightAverage(4),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_run_stopped_and_resumed_is_bit_equal(make, tmp_path: Path) -> None:
    uninterrupted = build(make)
    fit(uninterrupted, tmp_path, max_epochs=2)
    stopped = build(make)
    fit(stopped, tmp_path, max_epochs=1).save_checkpoint(tmp_path / "epoch.ckpt")
    resumed = build(make)
    fit(resumed, tmp_path, ckpt=tmp_path / "epoch.ckpt", max_epochs=2)
    assert torch.equal(torch.stack(stopped.seen + resumed.seen), torch.stack(uninterrupted.seen))
    for name, value in uninterrupted.state_dict().items():
        other = resumed.state_dict()[name]
        assert torch.equal(value, other) if isinstance(value, Tensor) else str(value) == str(other), name


def test_the_sanity_check_teaches_nothing(tmp_path: Path) -> None:
    """Validation losses a million times larger than training ones leave no trace in L(0)."""
    models = [build(GradNorm, validation_scale=scale) for scale in (1.0, 1e3)]
    for model in models:
        fit(model, tmp_path, max_steps=3, num_sanity_val_steps=2)
    assert torch.equal(models[0].criterion.balancer.initial_sum, models[1].criterion.balancer.initial_sum)
    assert torch.equal(torch.stack(models[0].seen), torch.stack(models[1].seen))


def test_clipping_and_accumulation_are_lightnings(tmp_path: Path) -> None:
    model = build(GradNorm)
    trainer = fit(model, tmp_path, max_epochs=1, accumulate_grad_batches=2, gradient_clip_val=0.1)
    assert trainer.global_step == 4
    assert len(model.seen) == 8


def test_everything_of_the_report_is_logged(tmp_path: Path) -> None:
    trainer = fit(build(GradNorm), tmp_path, max_steps=2)
    logged = {name for name in trainer.callback_metrics if name.startswith("train/")}
    parts = ("raw", "weight", "weighted", "normalized")
    assert logged == {"train/loss", *(f"train/{part}/{term}" for part in parts for term in ("mse", "robust"))}
