"""The detection recipe as a whole: every size is valid, it trains, and stopped and resumed ends like not stopped."""

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_losses.cli import main
from lightning_losses.recipes.detection.digits import DigitBoxes
from lightning_losses.recipes.detection.model import Detector

BCCD = Path(__file__).parents[2] / "shared" / "data" / "bccd" / "BCCD"
CRITERION = {
    "terms": {
        "classes": {
            "loss": {"class_path": "lightning_losses.recipes.detection.losses.DenseFocal"},
            "inputs": {"input": "logits", "target": "classes"},
        },
        "boxes": {"loss": "GIoU", "inputs": {"input": "boxes", "target": "true_boxes", "mask": "positive"}},
    },
    "balancer": "GradNorm",
}
CSV = "trainer.logger={class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: run}}"
SMALL = ["model.channels=[4,4,8,8,8]", "model.width=8", "model.depth=1"]
BRIEF = ["trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]


def detector(**changes) -> Detector:
    small = {"channels": (4, 4, 8, 8, 8), "width": 8, "depth": 1, "limits": (24, 48)}
    return Detector(**{"criterion": CRITERION, "num_classes": 10, **small, **changes})


def run(root: Path, resume: Path | None = None, num_workers: int = 0) -> Detector:
    seed_everything(0 if resume is None else 99, verbose=False)  # what is resumed must not depend on the seed of now
    model = detector()
    data = DigitBoxes(train_scenes=14, val_scenes=2, size=48, batch_size=4, num_workers=num_workers, seed=1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[ModelCheckpoint(root, "{step}", every_n_train_steps=1, save_top_k=-1)] if resume is None else [],
        logger=False,
        enable_checkpointing=resume is None,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
    )
    trainer.fit(model, data, ckpt_path=resume)
    return model


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, Detector]:
    root = tmp_path_factory.mktemp("uninterrupted")
    return root, run(root)


@pytest.mark.parametrize(
    ("step", "num_workers"), [(2, 0), (4, 2), (6, 0)], ids=["first epoch", "workers", "epoch's end"]
)
def test_stopped_and_resumed_is_bit_equal(uninterrupted, tmp_path: Path, step: int, num_workers: int) -> None:
    root, expected = uninterrupted
    resumed = run(tmp_path, root / f"step={step}.ckpt", num_workers)
    torch.testing.assert_close(resumed.state_dict(), expected.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("size", ["default", "smoke", "full"])
@pytest.mark.parametrize(
    "command",
    [
        ["detection", *SMALL],
        ["detection", *SMALL, "model.criterion.balancer=GradNorm", "model.criterion.terms.centerness=null"],
        ["detection", *SMALL, "model.criterion.terms.boxes.loss=CIoU"],
        ["detection/varifocal", *SMALL],
        ["detection/bccd", *SMALL, "data.root=somewhere"],
        ["detection/coco", *SMALL, "data.root=somewhere"],
        ["detection/torchvision", "model.architecture=ssdlite320_mobilenet_v3_large", "model.options=null"],
    ],
    ids=["digits", "digits with two terms", "digits with CIoU", "varifocal", "bccd", "coco", "torchvision"],
)
def test_every_configuration_is_valid(command: list[str], size: str, capsys) -> None:
    assert main(["validate-config", *command, "--size", size]) == 0, capsys.readouterr().err


def test_copied_recipe_trains_and_tests(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["copy", "detection", "mine"]) == 0
    command = ["fit", "./mine", "--size", "smoke", "run_dir=run", "data.size=48", *SMALL, *BRIEF, CSV]
    assert main(command) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "predictions.png").stat().st_size > 10_000
    checkpoints = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    with (tmp_path / "run" / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        first, second = [float(row["val/map"]) for row in csv.DictReader(file) if row["val/map"]]
    replaced = {"best.previous.ckpt"} if second > first else set()
    assert checkpoints == {"best.ckpt", "last.ckpt", "last.previous.ckpt"} | replaced
    assert main(["test", *command[1:]]) == 0, capsys.readouterr().err


def test_detector_of_torchvision_trains_and_tests(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["fit", "detection/torchvision", "--size", "smoke", "run_dir=run", *BRIEF, CSV]
    ssdlite = ["model.architecture=ssdlite320_mobilenet_v3_large", "model.options=null"]
    small = ["data.batch_size=2", "data.eval_batch_size=2", "trainer.limit_train_batches=1", "trainer.max_epochs=1"]
    look = ["trainer.callbacks.4.init_args.every_n_steps=1"]  # at the curvature, in evaluation mode
    terms = ["model.criterion.terms.bbox_ctrness=null", "model.criterion.balancer=GradNorm"]
    assert main([*command, *ssdlite, *small, *look, *terms]) == 0, capsys.readouterr().err
    assert "test/map_50" in capsys.readouterr().out


@pytest.mark.skipif(not BCCD.is_dir(), reason="needs the blood cells of BCCD beside the repository")
def test_blood_cells_train_and_test(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["fit", "detection/bccd", "--size", "smoke", f"data.root={BCCD}", "run_dir=run", *SMALL, *BRIEF, CSV]
    with pytest.warns(UserWarning, match=r"Dropped 2 of \d+ boxes"):
        assert main(command) == 0, capsys.readouterr().err
    assert "test/map_50" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "fcos_resnet5_fpn"}, "Did you mean 'fcos_resnet50_fpn'"),
        ({"architecture": "ssd300_vgg16", "options": {"min_size": 9}}, "`model.options` must be arguments of ssd300"),
        ({"num_classes": 0}, "`model.num_classes` must be at least 1, found 0"),
        ({"class_names": ["a", "b"]}, "`model.class_names` must be 10 names"),
        ({"channels": (4, 8)}, "`model.channels` must be at least three widths"),
        ({"limits": (48, 24)}, "`model.limits` must be two increasing numbers"),
        ({"score_threshold": 1.5}, "`model.score_threshold` must be"),
        ({"schedule": "step"}, "`model.schedule` must be one of"),
        ({"lr": 0.0}, "`model.lr` must be above 0"),
        ({"criterion": {"terms": {"boxes": "GIou"}}}, "Did you mean 'GIoU'"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_wrong_arguments_are_named(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        detector(**changes)


def test_checkpoint_is_all_it_takes_to_detect(uninterrupted, generator) -> None:
    root, model = uninterrupted
    image = torch.randint(256, (2, 3, 48, 64), generator=generator, dtype=torch.uint8)
    loaded = Detector.load_from_checkpoint(root / "step=9.ckpt").eval()
    for found, expected in zip(loaded(image), model.eval()(image / 255), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
