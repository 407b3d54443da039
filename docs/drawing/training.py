"""What the monitors logged in a real training: a small convolutional network on scikit-learn's handwritten digits."""

import csv
import math
import shutil
import tempfile
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from matplotlib.axes import Axes
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from drawing.style import BLUE, GREEN, GREY, ORANGE, PICTURES, figure, title
from lightning_losses import LossModule, Term
from lightning_losses.balancers import GradNorm
from lightning_losses.callbacks import (
    GradientNormMonitor,
    HessianTraceMonitor,
    LossSurfacePlot,
    NormalizedLossMonitor,
    TermGradientMonitor,
)
from lightning_losses.losses import MSE, CrossEntropy

Rows = list[dict[str, str]]


class Digits(L.LightningModule):
    """Which digit, and how much ink: two tasks on one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 64), nn.ReLU()
        )
        self.digit, self.ink = nn.Linear(64, 10), nn.Linear(64, 1)
        terms = {
            "digit": Term(CrossEntropy(), inputs=["logits", "label"]),
            "ink": Term(MSE(), inputs=["amount", "ink"]),
        }
        self.criterion = LossModule(terms, balancer=GradNorm())

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Both losses of a batch."""
        image, label, ink = batch
        features = self.trunk(image)
        return self.criterion(
            logits=self.digit(features),
            label=label,
            amount=self.ink(features).squeeze(1),
            ink=ink,
            shared=features,
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The usual one."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def monitors() -> None:
    """A picture for every monitor."""
    watching = [
        HessianTraceMonitor(every_n_steps=4),
        GradientNormMonitor(),
        TermGradientMonitor(),
        NormalizedLossMonitor(),
    ]
    with tempfile.TemporaryDirectory() as folder:
        _train(folder, watching, epochs=16, accumulate=2)
        rows = list(csv.DictReader(next(Path(folder).rglob("metrics.csv")).open()))
    _hessian(rows)
    _losses(rows)
    _gradients(rows)
    _terms(rows)


def surface() -> None:
    """The picture that `LossSurfacePlot` writes by itself."""
    with tempfile.TemporaryDirectory() as folder:
        _train(folder, [LossSurfacePlot(dirpath=folder, points=21)], epochs=4, accumulate=1)
        shutil.copy(next(Path(folder).glob("*.png")), PICTURES / "surface.png")


def _train(folder: str, callbacks: list[L.Callback], epochs: int, accumulate: int) -> None:
    L.seed_everything(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 16
    data = TensorDataset(images[:, None], torch.tensor(digits.target), images.sum((1, 2)))
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=1,
        logger=CSVLogger(folder),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(), DataLoader(data, batch_size=64, shuffle=True, drop_last=True))


def _series(rows: Rows, name: str) -> tuple[list[int], list[float]]:
    found = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
    return [step for step, _ in found], [value for _, value in found]


def _curve(axes: Axes, rows: Rows, name: str, label: str, color: str) -> None:
    axes.plot(*_series(rows, name), color=color, label=label, linewidth=1.4)


def _hessian(rows: Rows) -> None:
    with figure("hessian_trace", columns=2) as (left, right):
        steps, lower = _series(rows, "curvature/trace_lower/total")
        _, upper = _series(rows, "curvature/trace_upper/total")
        left.fill_between(steps, [max(value, 0) for value in lower], upper, color=BLUE, alpha=0.2, linewidth=0)
        _curve(left, rows, "curvature/trace/total", "Tr H", BLUE)
        title(left, "curvature/trace/total, with its band")
        left.set_yscale("log")
        _curve(right, rows, "curvature/stability", "stability", ORANGE)
        right.axhline(1, color=GREY, linestyle="--", linewidth=1)
        title(right, "curvature/stability")
        right.set_yscale("log")
        _finish(left, right)


def _losses(rows: Rows) -> None:
    with figure("normalized_loss", columns=2) as (left, right):
        for name, color in (("digit", BLUE), ("ink", ORANGE)):
            _curve(left, rows, f"losses/normalized/{name}", name, color)
            _curve(right, rows, f"losses/share/{name}", name, color)
        left.axhline(1, color=GREY, linestyle="--", linewidth=1)
        left.set_yscale("log")
        title(left, "losses/normalized")
        title(right, "losses/share")
        left.legend(frameon=False)
        _finish(left, right)


def _gradients(rows: Rows) -> None:
    groups = sorted(
        {name for row in rows for name in row if name.startswith("gradients/norm/") and "total" not in name}
    )
    with figure("gradient_norm", columns=2) as (left, right):
        for name, color in zip(groups, (BLUE, ORANGE, GREEN, GREY), strict=False):
            _curve(left, rows, name, name.removeprefix("gradients/norm/"), color)
        left.set_yscale("log")
        left.legend(frameon=False)
        title(left, "gradients/norm")
        _curve(right, rows, "gradients/noise_scale", "", ORANGE)
        right.set_yscale("log")
        title(right, "gradients/noise_scale, in samples")
        _finish(left, right)


def _terms(rows: Rows) -> None:
    with figure("term_gradients", columns=2) as (left, right):
        for name, color in (("digit", BLUE), ("ink", ORANGE)):
            _curve(left, rows, f"gradients/term_norm/{name}", name, color)
        left.set_yscale("log")
        left.legend(frameon=False)
        title(left, "gradients/term_norm")
        _curve(right, rows, "gradients/cosine/digit-ink", "", GREEN)
        right.axhline(0, color=GREY, linestyle="--", linewidth=1)
        title(right, "gradients/cosine/digit-ink")
        _finish(left, right)


def _finish(*all_axes: Axes) -> None:
    for axes in all_axes:
        axes.set(xlabel="step")
        axes.margins(x=0)
        low, high = axes.get_ylim()
        if axes.get_yscale() == "linear" and not math.isclose(low, high):
            axes.set_ylim(min(low, 0), high)
