"""A linear model with plain gradient descent."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from .score import r2


class Line(LightningModule):
    """y = w x + b under the squared error.

    Args:
        lr: learning rate.
        features: columns of x.
        penalty: factors of the penalties on w.
        fail: the training step at which a term is NaN, to test how that is reported; None for never.
    """

    def __init__(
        self, lr: float, features: int, penalty: dict[str, Any] | None = None, fail: int | None = None
    ) -> None:
        super().__init__()
        if lr <= 0:
            raise ValueError(f"`lr` must be above 0, found {lr}.")
        self.save_hyperparameters()
        self.layer = nn.Linear(features, 1)
        self.penalty = penalty or {}

    def step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        x, y = batch
        prediction = self.layer(x).squeeze(1)
        self.log(f"{stage}/r2", r2(prediction, y), on_epoch=True, on_step=False, sync_dist=True)
        return (prediction - y).square().mean()

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        if self.global_step == self.hparams["fail"]:
            raise FloatingPointError(f"term 'mse' is nan at step {self.global_step}")
        return self.step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self.step(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])
