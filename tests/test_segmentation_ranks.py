"""Two ranks measure what one process measures: every pixel of the data counts once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from parity.ranks import RANKS, on_ranks

from lightning_losses.recipes.segmentation.digits import DigitScenes
from lightning_losses.recipes.segmentation.model import Segmenter

IMAGES = 5  # an odd number: the sampler repeats one


def work(rank: int, folder: Path, ranks: int = RANKS) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Segmenter({"terms": {"ce": "CrossEntropy"}}, num_classes=11, channels=(4, 8))
    data = DigitScenes(test_scenes=IMAGES, size=32, eval_batch_size=2)
    trainer = Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", default_root_dir=folder,
        enable_progress_bar=False, logger=False, enable_checkpointing=False,
    )  # fmt: skip
    (metrics,) = trainer.test(model, data, verbose=False)
    return metrics


def test_overlap_counts_every_image_once(tmp_path: Path) -> None:
    one = work(0, tmp_path / "one", ranks=1)
    assert 0 < one["test/iou"] < 1
    for metrics in on_ranks(work, tmp_path / "ranks"):
        assert {key: metrics[key] for key in ("test/iou", "test/dice")} == pytest.approx(
            {key: one[key] for key in ("test/iou", "test/dice")}, rel=1e-6
        )
