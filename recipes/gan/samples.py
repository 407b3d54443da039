"""Grids of samples while training, always of the same latents."""

from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_losses.callbacks.figures import log_figure
from lightning_losses.checks import check_number

from .model import GAN
from .plot import grid_figure


class SampleGrid(Callback):
    """Writes ``samples/step-<n>.png`` into the run's directory, and to the loggers that take figures.

    Args:
        every_n_steps: how often; the grid of the end is written too.
        count: of images.
        seed: of the latents.
    """

    def __init__(self, *, every_n_steps: int = 500, count: int = 64, seed: int = 0) -> None:
        self.every_n_steps = int(check_number("every_n_steps", every_n_steps, at_least=1))
        self.count = int(check_number("count", count, at_least=1))
        self.seed = seed
        self._drawn = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw where a grid is due."""
        if trainer.global_step % self.every_n_steps == 0:
            self._draw(trainer, cast(GAN, pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last one."""
        self._draw(trainer, cast(GAN, pl_module))

    def _draw(self, trainer: Trainer, model: GAN) -> None:
        step = trainer.global_step
        if step == self._drawn or not trainer.is_global_zero:  # several micro-batches make a step
            return
        self._drawn = step
        latent = model.latents.fixed(self.count, self.seed)
        with torch.autocast(model.device.type, enabled=False):
            figure = grid_figure(model(latent.z.to(model.device)))
        file = Path(trainer.default_root_dir, "samples", f"step-{step:07d}.png")
        log_figure(trainer, "samples", figure, file)
