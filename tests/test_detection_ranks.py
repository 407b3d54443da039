"""Two ranks equal one process: the losses per object of all ranks, and the average precision of all images."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from parity.ranks import RANKS, on_ranks
from torch.utils.data import DataLoader

from lightning_losses.recipes.detection.data import Batch
from lightning_losses.recipes.detection.digits import BoxedScenes
from lightning_losses.recipes.detection.model import Detector

TERMS = {
    "classes": {
        "loss": {"class_path": "lightning_losses.recipes.detection.losses.DenseFocal"},
        "inputs": {"input": "logits", "target": "classes"},
    },
    "boxes": {"loss": "CIoU", "inputs": {"input": "boxes", "target": "true_boxes", "mask": "positive"}},
    "centerness": {
        "loss": "BCEWithLogits",
        "inputs": {"input": "centerness", "target": "true_centerness", "mask": "positive"},
    },
}
IMAGES = 5  # an odd number: two ranks share them unequally


class Scenes(LightningDataModule):
    """The same scenes for training, with all objects on one rank, and for the test."""

    def train_dataloader(self) -> DataLoader:
        scenes = BoxedScenes("train", IMAGES)
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        share = range(4) if ranks == 1 else range(2 * rank, 2 * rank + 2)
        samples = [scenes[index] for index in share]
        samples = [
            one._replace(labels=torch.full_like(one.labels, -1)) if i >= 2 else one
            for i, one in zip(share, samples, strict=True)
        ]
        return DataLoader(samples, batch_size=4)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(BoxedScenes("test", IMAGES), batch_size=2)


class Gradient(Callback):
    """The gradient of the first step, averaged over ranks."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Detector, optimizer: Any) -> None:
        self.seen = {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}


class Detectable(Detector):
    """With the fixed statistics of evaluation in training too: those of a batch differ from rank to rank."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.detector.eval()


def work(rank: int, folder: Path, ranks: int = RANKS) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Detectable(
        {"terms": TERMS},
        num_classes=10,
        channels=(4, 4, 8, 8, 8),
        width=8,
        depth=1,
        limits=(24, 48),
        score_threshold=0.0,
    )
    gradient = Gradient()
    options = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "enable_checkpointing": False,
    }
    trainer = Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", max_steps=1, callbacks=[gradient],
        use_distributed_sampler=False, default_root_dir=folder, limit_val_batches=0, **options,
    )  # fmt: skip
    trainer.fit(model, Scenes())
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tester = Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", default_root_dir=folder, **options
    )
    (metrics,) = tester.test(model, Scenes(), verbose=False)
    return {"gradient": gradient.seen, "metrics": metrics}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict]]:
    """Of one process, and of each of the ranks."""
    return work(0, tmp_path_factory.mktemp("one"), ranks=1), on_ranks(work, tmp_path_factory.mktemp("ranks"))


def test_losses_are_per_object_of_all_ranks(results) -> None:
    """One rank holds all the objects: the mean of the ranks' own means would be half of what it is here."""
    one, of_ranks = results
    assert len(one["gradient"]) > 20
    for rank in of_ranks:
        torch.testing.assert_close(rank["gradient"], one["gradient"], rtol=1e-3, atol=1e-6)


def test_average_precision_counts_every_image_once(results) -> None:
    """The sampler repeats an image to give both ranks three of the five; it must not count twice."""
    one, of_ranks = results
    assert 0 < one["metrics"]["test/map_50"] < 1
    for rank in of_ranks:
        assert rank["metrics"] == pytest.approx(one["metrics"], rel=1e-4)
