"""Two ranks equal one process: weights, importances, the teacher and the accuracy matrix."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from parity.ranks import RANKS, on_ranks

from lightning_losses.callbacks import ContinualLearning, FisherInformation, PathIntegral, TeacherSnapshot
from lightning_losses.recipes.continual.data import DigitTasks
from lightning_losses.recipes.continual.model import ContinualClassifier

TASK = {"loss": "CrossEntropy", "inputs": ["logits", "target"]}
EWC = {"loss": "EWC", "inputs": ["model"], "weight": 20.0, "balanced": False}
LWF = {"loss": "Distillation", "inputs": {"input": "student", "target": "teacher"}, "optional": True}
METHODS: dict[str, Any] = {
    "Fisher": ({"ewc": EWC}, lambda: FisherInformation(samples=31)),  # an odd number: ranks share it unequally
    "SI": ({"ewc": EWC}, PathIntegral),
    "LwF": ({"lwf": LWF}, lambda: TeacherSnapshot(module="network")),
}


def train(folder: Path, ranks: int, method: str) -> dict[str, Any]:
    seed_everything(0, verbose=False)
    terms, consolidation = METHODS[method]
    criterion = {"terms": {"task": TASK, **terms}}
    model = ContinualClassifier(criterion, pixels=64, classes=5, tasks=2, scenario="class", hidden=(8,))
    data = DigitTasks("split", "class", tasks=2, iterations=6, batch_size=16 // ranks, eval_batch_size=83)
    learning = ContinualLearning(consolidation=consolidation())
    trainer = Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", precision="64-true", max_epochs=2,
        callbacks=[learning], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, data)
    (tested, *_) = trainer.test(model, data, verbose=False)
    return {
        "state": model.state_dict(), "matrix": learning.matrix, "test": tested["test/average_accuracy"],
        "batches": trainer.num_test_batches,
    }  # fmt: skip


def train_all(rank: int, folder: Path, ranks: int = RANKS) -> dict[str, Any]:
    return {method: train(folder, ranks, method) for method in METHODS}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[dict]]:
    """Of one process, and of each of the ranks."""
    return train_all(0, tmp_path_factory.mktemp("one"), ranks=1), on_ranks(train_all, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("method", METHODS)
def test_weights_and_what_is_kept_of_them(results, method: str) -> None:
    one, of_ranks = results
    for rank in of_ranks:
        torch.testing.assert_close(rank[method]["state"], one[method]["state"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_every_image_is_measured_once(results, method: str) -> None:
    """Splits of odd sizes, which Lightning's own sampler would fill up with repetitions."""
    one, of_ranks = results
    for rank in of_ranks:
        torch.testing.assert_close(torch.tensor(rank[method]["matrix"]), torch.tensor(one[method]["matrix"]))
        assert rank[method]["test"] == pytest.approx(one[method]["test"], abs=1e-6)


def test_ranks_evaluate_as_many_batches(results) -> None:
    """Of 84 and 83 images in batches of 83, too: a forward that waits for all ranks would wait for ever."""
    _, of_ranks = results
    for rank in of_ranks:
        assert rank["Fisher"]["batches"] == [2, 2]
