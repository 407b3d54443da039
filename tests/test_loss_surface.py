"""A picture shows the loss where it says, of what it says, and for what it may cost."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from parity.training import quiet
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_losses.callbacks.loss_surface import LossSurfacePlot


class Quadratic(L.LightningModule):
    """0.5 * mean over the batch of sum_i c_i (w_i - x_i)^2: the eigenvectors are the axes, the eigenvalues c."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[3.0, -2.0, 1.0]]))
        self.unused = nn.Linear(1, 1)
        self.register_buffer("c", torch.tensor([1.0, 10.0, 4.0]))

    def loss(self, batch: Tensor, batch_idx: int = 0) -> Tensor:
        return 0.5 * (self.c * (self.w - batch).square()).sum(1).mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.loss(batch, batch_idx)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.02)


def fit(
    folder: Path, model: L.LightningModule | None = None, epochs: int = 3, **kwargs: Any
) -> tuple[L.LightningModule, dict[str, Any]]:
    """The trained model and the numbers of the last picture."""
    plot = LossSurfacePlot(dirpath=str(folder), **{"points": 7} | kwargs)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[plot],
    )  # fmt: skip
    model = model or Quadratic()
    with quiet():
        trainer.fit(model, DataLoader(list(torch.zeros(4, 2, 3)), batch_size=None))
    found = sorted(folder.glob("*.pt"), key=lambda path: path.stat().st_mtime)
    assert all(path.with_suffix(".png").stat().st_size > 5000 for path in found)
    return model, torch.load(found[-1])


@pytest.mark.parametrize("directions", ["random", "eigen", "trajectory"])
def test_the_middle_is_where_training_has_led(tmp_path: Path, directions: str) -> None:
    model, found = fit(tmp_path, directions=directions)
    middle = float(model.loss(torch.zeros(2, 3)).detach())
    assert float(found["losses"][3, 3]) == pytest.approx(middle, rel=1e-6)
    assert found["at"][3] == 0


def test_along_eigenvectors_the_unit_is_where_the_quadratic_has_doubled_the_loss(tmp_path: Path) -> None:
    """L(t) = L + t g'v + 0.5 lambda t^2 |v|^2: the even part of the doubled loss is 2 L at t = 1."""
    model, found = fit(tmp_path, directions="eigen", lines=True)
    middle = float(model.loss(torch.zeros(2, 3)).detach())
    even = (found["losses"] + found["losses"].flip(1)) / 2
    torch.testing.assert_close(even, middle * (1 + found["at"].double().square()).expand(2, 7), rtol=1e-4, atol=0)
    assert [name.split()[2] for name in found["names"]] == ["10", "4"]


def test_filters_of_random_directions_are_as_long_as_those_of_the_weights(tmp_path: Path) -> None:
    """At distance t from a w of length r the quadratic with c = 1 has risen by t r w'd + t^2 r^2 / 2."""
    model = Quadratic()
    model.c.fill_(1.0)
    model, found = fit(tmp_path, model, directions="random", lines=True)
    middle = 0.5 * float(model.w.detach().square().sum())
    even = (found["losses"] + found["losses"].flip(1)) / 2
    torch.testing.assert_close(even, middle * (1 + found["at"].double().square()).expand(2, 7), rtol=1e-5, atol=0)


def test_the_trajectory_lies_inside_its_picture_and_ends_in_the_middle(tmp_path: Path) -> None:
    _, found = fit(tmp_path, directions="trajectory", epochs=5)
    assert found["path"].shape == (7, 2)  # the start, five epochs, and the end
    assert 0.8 < float(found["path"].abs().max()) < 1
    assert found["path"][-1].abs().max() == 0
    assert found["path"][0].norm() > found["path"][3].norm() > 0


def test_the_loss_is_the_mean_of_the_last_batches(tmp_path: Path) -> None:
    class Counting(Quadratic):
        def loss(self, batch: Tensor, batch_idx: int = 0) -> Tensor:
            return super().loss(batch) + 10 * batch_idx

    model, found = fit(tmp_path, Counting(), batches=2)
    expected = [float(model.loss(torch.zeros(2, 3), i)) for i in (2, 3)]
    assert float(found["losses"][3, 3]) == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_a_loss_that_is_not_finite_somewhere_is_drawn_and_kept(tmp_path: Path) -> None:
    class Cliff(Quadratic):
        def loss(self, batch: Tensor, batch_idx: int = 0) -> Tensor:
            loss = super().loss(batch)
            return loss / 0 if self.w[0, 0] > 4 else loss

    _, found = fit(tmp_path, Cliff(), radius=5.0)
    assert found["losses"].isinf().any()
    assert found["losses"].isfinite().any()


def test_a_picture_that_would_take_too_long_has_fewer_points(tmp_path: Path) -> None:
    _, found = fit(tmp_path, points=101, max_seconds=1e-9)
    assert found["losses"].shape == (5, 5)


def test_pictures_of_epochs_and_of_the_end_once_each(tmp_path: Path) -> None:
    fit(tmp_path, epochs=5, every_n_epochs=2)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"random-step{step}.png" for step in (16, 20, 8)]


def test_random_directions_are_those_of_the_seed(tmp_path: Path) -> None:
    found = [fit(tmp_path / str(i), seed=seed)[1]["losses"] for i, seed in enumerate((1, 1, 2))]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_wandb_gets_the_picture(tmp_path: Path) -> None:
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    plot = LossSurfacePlot(points=5, dirpath=str(tmp_path / "surface"))
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=logger, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[plot], log_every_n_steps=1,
    )  # fmt: skip
    with quiet():
        trainer.fit(Quadratic(), DataLoader(list(torch.zeros(2, 2, 3)), batch_size=None))
    logger.experiment.finish()
    wandb.teardown()  # `finish` returns before all is written
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/loss_surface/random_*.png"))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"directions": "best"}, "`directions` must be one of 'random', 'eigen', 'trajectory', found 'best'"),
        ({"points": 3}, "`points` must be at least 5, found 3"),
        ({"radius": 0.0}, "`radius` must be above 0, found 0.0"),
        ({"max_seconds": 0}, "`max_seconds` must be above 0, found 0"),
        ({"every_n_epochs": -1}, "`every_n_epochs` must be at least 1, found -1"),
        ({"mode": "test"}, "`mode` must be one of 'eval', 'train', found 'test'"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LossSurfacePlot(**arguments)
