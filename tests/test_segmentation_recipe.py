"""The segmentation recipe as a whole: every size is valid, and a run that was stopped ends like one that was not."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_losses.cli import main
from lightning_losses.recipes.segmentation.digits import DigitScenes
from lightning_losses.recipes.segmentation.model import Segmenter

CRITERION = {"terms": {"dice_ce": "DiceCE", "focal": "SoftmaxFocal"}, "balancer": "GradNorm"}
EPOCHS, STEPS = 3, 5  # steps in an epoch


class Seen(Callback):
    """What each batch was made of."""

    def __init__(self) -> None:
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.batches.append((trainer.current_epoch, batch_idx, int(batch[0].sum())))


def run(root: Path, num_workers: int, resume: Path | None = None, epochs: int = EPOCHS) -> tuple[Segmenter, list]:
    seed_everything(0 if resume is None else 99, verbose=False)  # what is resumed must not depend on the seed of now
    model = Segmenter(CRITERION, num_classes=11, channels=(4, 8))
    data = DigitScenes(train_scenes=22, val_scenes=4, size=16, batch_size=4, num_workers=num_workers, seed=1)
    seen = Seen()
    every_step = ModelCheckpoint(root, "{step}", every_n_train_steps=1, save_top_k=-1)
    every_epoch = ModelCheckpoint(root, "epoch-{step}", save_top_k=-1, save_on_train_epoch_end=False)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[seen, every_step, every_epoch] if resume is None else [seen],
        logger=False,
        enable_checkpointing=resume is None,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
    )
    trainer.fit(model, data, ckpt_path=resume)
    return model, seen.batches


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, Segmenter, list]:
    root = tmp_path_factory.mktemp("uninterrupted")
    return root, *run(root, num_workers=0)


def test_a_longer_training_does_not_go_on_with_the_learning_rates_of_a_shorter_one(
    uninterrupted, tmp_path: Path
) -> None:
    root, *_ = uninterrupted
    with pytest.raises(
        ValueError, match="scheduled over 15 steps, and the trainer now asks for 20: keep trainer.max_epochs"
    ):
        run(tmp_path, 0, resume=root / "step=7.ckpt", epochs=EPOCHS + 1)


@pytest.mark.parametrize(
    ("stopped_at", "num_workers"),
    [("step=2", 0), ("step=7", 0), ("step=7", 2), ("step=10", 0), ("epoch-step=10", 0), ("epoch-step=10", 2)],
    ids=["first epoch", "mid-epoch", "mid-epoch in workers", "last batch", "validation", "validation in workers"],
)
def test_stopped_and_resumed_is_bit_equal(uninterrupted, tmp_path: Path, stopped_at: str, num_workers: int) -> None:
    root, expected, batches = uninterrupted
    resumed, seen = run(tmp_path, num_workers, resume=root / f"{stopped_at}.ckpt")
    assert seen == batches[int(stopped_at.rpartition("=")[2]) :]
    assert len(batches) == EPOCHS * STEPS
    torch.testing.assert_close(resumed.state_dict(), expected.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("size", ["default", "smoke", "full"])
@pytest.mark.parametrize(
    "command",
    [
        ["segmentation"],
        ["segmentation", "model.criterion.balancer=GradNorm", "model.criterion.terms.focal=null"],
        ["segmentation/boundary", "model.criterion.balancer=GradNorm"],
        ["segmentation/nuclei", "data.root=somewhere"],
        ["segmentation/folder", "data.root=somewhere", "model.num_classes=4", "model.ignore_index=255"],
    ],
    ids=["digits", "digits with one term", "boundary", "nuclei", "folder"],
)
def test_every_configuration_is_valid(command: list[str], size: str, capsys) -> None:
    assert main(["validate-config", *command, "--size", size]) == 0, capsys.readouterr().err


def test_copied_recipe_trains_and_tests(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["copy", "segmentation", "mine"]) == 0
    csv = "trainer.logger={class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: run}}"
    small = ["model.channels=[4,8]", "data.size=32", "trainer.limit_train_batches=3", csv]
    assert main(["fit", "./mine", "--size", "smoke", "run_dir=run", *small]) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "predictions.png").exists()
    checkpoints = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert checkpoints == {"best.ckpt", "last.ckpt", "last.previous.ckpt"}
