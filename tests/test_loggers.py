"""TensorBoard, MLflow, CSV and W&B get the same numbers and figures: one training, read back by each one's own reader."""

import math
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_losses import LossModule, losses
from lightning_losses.callbacks import (
    GradientNormMonitor,
    LossSurfacePlot,
    NormalizedLossMonitor,
    log_figure,
    log_table,
)
from lightning_losses.dashboards import history

STEPS = 6
KEY = "0123456789" * 4
NAMES = {"loss_surface/random": STEPS, "test/prediction": STEPS}
"""The figures and the steps at which they are logged."""
COLUMNS = ["true class", "as cat", "as dog"]
ROWS = [["cat", 0.75, 0.25], ["a | b, c", 0.0, 1.0]]


class Line(L.LightningModule):
    """Linear regression with two terms, one of which is NaN at times as far as the loggers know."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 1)
        self.criterion = LossModule({"mse": losses.MSE(), "l1": nn.L1Loss()})

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.criterion(self.net(batch), batch.sum(1, keepdim=True))
        self.log_dict(self.criterion.report.metrics("train/"))
        self.log("train/odd name", torch.tensor(math.nan if batch_idx == 2 else float(batch_idx)))
        return loss

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("test/loss", self.net(batch).square().mean())

    def on_test_epoch_end(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(2, 1))
        figure.add_subplot().plot([0, 1], [1, 0])
        log_table(self.trainer, "test/confusion", COLUMNS, ROWS)
        log_figure(self.trainer, "test/prediction", figure, Path(self.trainer.default_root_dir, "prediction.png"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Where one training has logged to all of them."""
    pytest.importorskip("tensorboard", reason="TensorBoardLogger needs tensorboard")
    pytest.importorskip("mlflow", reason="MLFlowLogger needs mlflow-skinny")
    root = tmp_path_factory.mktemp("loggers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # it would rather have a database
        loggers = [
            CSVLogger(root, name="csv"),
            WandbLogger(save_dir=root, offline=True, project="p"),
            TensorBoardLogger(root, name="tensorboard"),
            MLFlowLogger("e", tracking_uri=f"file:{root / 'mlflow'}"),
        ]
        torch.manual_seed(0)
        trainer = L.Trainer(
            accelerator="cpu", max_epochs=1, log_every_n_steps=1, logger=loggers, enable_checkpointing=False, default_root_dir=root,
            enable_progress_bar=False, enable_model_summary=False,
            callbacks=[NormalizedLossMonitor(), GradientNormMonitor(), LossSurfacePlot(points=5, dirpath=str(root / "surface"))],
        )  # fmt: skip
        data = DataLoader(list(torch.randn(STEPS, 4, 2)), batch_size=None)
        trainer.fit(Line(), data)
        trainer.test(trainer.lightning_module, data, verbose=False)
        loggers[1].experiment.finish()
        wandb.teardown()  # `finish` returns before all is written
        for logger in loggers:
            logger.finalize("success")
    return root


@pytest.fixture(scope="module")
def expected(root) -> dict[str, dict[float, float]]:
    """What the CSVLogger was given, {key: {step: value}}."""
    return points(history.read(root / "csv" / "version_0"))


def points(found: history.History) -> dict[str, dict[float, float]]:
    numbers = {key: series for key, series in found.series.items() if not key.startswith("system/")}
    return {key: dict(zip(series.steps, series.values, strict=True)) for key, series in numbers.items()}


def assert_same(found: dict[str, dict[float, float]], expected: dict[str, dict[float, float]]) -> None:
    assert set(found) == set(expected)
    for key, values in expected.items():
        assert sorted(found[key]) == sorted(values), key
        np.testing.assert_allclose([found[key][step] for step in values], list(values.values()), rtol=1e-6, err_msg=key)


def test_csv_has_every_kind_of_number(expected) -> None:
    wanted = {
        "train/loss",
        "train/raw/mse",
        "train/weighted/l1",
        "losses/normalized/mse",
        "gradients/norm/total",
        "test/loss",
    }
    assert wanted <= set(expected)
    assert list(expected["train/loss"]) == list(range(STEPS))
    assert math.isnan(expected["train/odd name"][2])


def test_wandb_has_the_same(root, expected) -> None:
    found = history.read(next(root.glob("wandb/offline-run-*")))
    assert_same(points(found), expected)
    assert {image.key: image.step for image in found.images} == NAMES
    assert found.tables == (history.Table("test/confusion", STEPS, COLUMNS, ROWS),)


def test_tensorboard_has_the_same(root, expected) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(root / "tensorboard" / "version_0"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    given = {key: {event.step: event.value for event in events.Scalars(key)} for key in tags["scalars"]}
    given.pop("hp_metric", None)
    assert_same(given, expected)
    assert {tag: event.step for tag in tags["images"] for event in events.Images(tag)} == NAMES
    assert all(
        event.encoded_image_string.startswith(b"\x89PNG") for tag in tags["images"] for event in events.Images(tag)
    )
    (tag,) = tags["tensors"]
    (event,) = events.Tensors(tag)
    assert (tag, event.step) == ("test/confusion/text_summary", STEPS)
    assert event.tensor_proto.string_val[0].decode() == (
        "| true class | as cat | as dog |\n| --- | --- | --- |\n| cat | 0.75 | 0.25 |\n| a \\| b, c | 0.0 | 1.0 |"
    )


def test_mlflow_has_the_same(root, expected) -> None:
    from mlflow.tracking import MlflowClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = MlflowClient(f"file:{root / 'mlflow'}")
        (run,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
        found = {
            key: {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, key)}
            for key in run.data.metrics
        }
        assert_same(found, expected)
        for name, step in NAMES.items():
            (artifact,) = client.list_artifacts(run.info.run_id, f"figures/{name}")
            assert artifact.path == f"figures/{name}/step{step}.png"
        table = client.download_artifacts(run.info.run_id, f"tables/test/confusion/step{STEPS}.csv")
        assert Path(table).read_bytes() == (root / f"csv/version_0/tables/test/confusion/step{STEPS}.csv").read_bytes()


def test_csv_has_the_figures_beside_its_table(root) -> None:
    found = history.read(root / "csv" / "version_0").images
    assert {image.key: image.step for image in found} == NAMES
    assert all(image.path.read_bytes().startswith(b"\x89PNG") for image in found)


def test_csv_has_the_tables_beside_its_own(root) -> None:
    assert history.read(root / "csv" / "version_0").tables == (history.Table("test/confusion", STEPS, COLUMNS, ROWS),)


def test_a_row_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match="`rows` must have 3 values each, found 2 in row 1"):
        log_table(L.Trainer(logger=False), "test/confusion", COLUMNS, [ROWS[0], ROWS[1][:2]])


def test_every_figure_is_a_file_too(root) -> None:
    assert (root / "prediction.png").read_bytes() == (
        root / "csv/version_0/figures/test/prediction" / f"step{STEPS}.png"
    ).read_bytes()
    assert len(list((root / "surface").glob("random-step*.png"))) == 1


def test_the_key_of_wandb_is_in_no_file(root) -> None:
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_without_a_logger_the_file_is_written_all_the_same(tmp_path) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.test(Line(), DataLoader(list(torch.zeros(1, 1, 2)), batch_size=None), verbose=False)
    assert [path.name for path in tmp_path.iterdir()] == ["prediction.png"]
