"""A run that is stopped anywhere in its tasks and resumed is equal, to the bit, to one that was not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from continual_methods import LWF, TASK, Stop, ewc
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_losses.callbacks import (
    ContinualLearning,
    FisherInformation,
    OutputSensitivity,
    PathIntegral,
    RandomState,
    ResumableCheckpoint,
    TeacherSnapshot,
)
from lightning_losses.checkpoint_io import AtomicCheckpointIO
from lightning_losses.recipes.continual.data import DigitTasks
from lightning_losses.recipes.continual.model import ContinualClassifier

TASKS, STEPS = 3, 4
METHODS: dict[str, Any] = {
    "online": ({"ewc": ewc(50.0)}, lambda: FisherInformation(samples=30)),
    "separate": ({"ewc": ewc(50.0, "separate")}, lambda: FisherInformation(estimator="sampled", samples=30)),
    "SI": ({"ewc": ewc(50.0)}, PathIntegral),
    "MAS": ({"ewc": ewc(50.0)}, lambda: OutputSensitivity(samples=30)),
    "LwF": ({"lwf": LWF}, lambda: TeacherSnapshot(module="network")),
}


def run(root: Path, method: str, kill: int | None = None, resume: Path | None = None, saver: Any = None) -> Trainer:
    seed_everything(0 if resume is None else 99, verbose=False)  # what is resumed must not depend on the seed of now
    terms, consolidation = METHODS[method]
    criterion = {"terms": {"task": TASK, **terms}}
    model = ContinualClassifier(criterion, pixels=64, classes=10, tasks=TASKS, scenario="task", hidden=(8,))
    data = DigitTasks("permuted", "task", tasks=TASKS, iterations=STEPS, batch_size=8)
    learning = ContinualLearning(consolidation=consolidation())
    last = ResumableCheckpoint(root, every_n_train_steps=1, save_top_k=0, save_last=True, enable_version_counter=False)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=TASKS,
        callbacks=[Stop(kill), learning, RandomState(), saver or last],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data, ckpt_path=resume)
    return trainer


def state(root: Path) -> dict[str, Any]:
    """All that the last checkpoint holds of model, optimizer and tasks."""
    found = torch.load(root / "last.ckpt", weights_only=True)
    return {key: found[key] for key in ("state_dict", "optimizer_states", "global_step")} | {
        "tasks": found["callbacks"]["ContinualLearning"]
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Any:
    """The last checkpoint of a run that was not stopped, by method."""
    made: dict[str, dict[str, Any]] = {}

    def _whole(method: str) -> dict[str, Any]:
        if method not in made:
            root = tmp_path_factory.mktemp(method)
            run(root, method)
            made[method] = state(root)
        return made[method]

    return _whole


@pytest.mark.parametrize(
    ("method", "step"),
    [("online", 2), ("online", 4), ("online", 5), ("online", 11), ("separate", 10), ("SI", 6), ("MAS", 6), ("LwF", 6)],
)
def test_stopped_and_resumed_is_bit_equal(whole, tmp_path: Path, method: str, step: int) -> None:
    """Step 4 is the last of the first task: its checkpoint is written behind the end of the task, or not at all."""
    with pytest.raises(InterruptedError):
        run(tmp_path, method, kill=step)
    assert len(state(tmp_path)["tasks"]["matrix"]) == (step - 1) // STEPS
    run(tmp_path, method, resume=tmp_path / "last.ckpt")
    torch.testing.assert_close(state(tmp_path), whole(method), rtol=0, atol=0)


def test_a_checkpoint_behind_the_last_step_but_before_the_end_of_a_task_loses_the_row_alone(whole, tmp_path) -> None:
    """Lightning's own saver writes there; resumed from it, Lightning takes validation and the epoch's end for done."""
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(InterruptedError):
        run(tmp_path, "online", kill=STEPS + 1, saver=saver)
    with pytest.warns(UserWarning, match="Task 1 has ended without a validation behind its last step"):
        run(tmp_path, "online", resume=tmp_path / f"step={STEPS}.ckpt")
    resumed, expected = state(tmp_path), whole("online")
    for key in ("state_dict", "optimizer_states", "global_step"):
        torch.testing.assert_close(resumed[key], expected[key], rtol=0, atol=0)
    first, *others = torch.tensor(resumed["tasks"]["matrix"])
    assert first.isnan().all()
    assert torch.equal(torch.stack(others), torch.tensor(expected["tasks"]["matrix"][1:]))


def test_the_teacher_is_no_parameter_and_says_what_the_network_said(whole, tmp_path: Path) -> None:
    trainer = run(tmp_path, "LwF")
    model = trainer.lightning_module
    assert isinstance(model, ContinualClassifier)
    trained = sum(p.numel() for group in trainer.optimizers[0].param_groups for p in group["params"])
    assert trained == sum(p.numel() for p in model.network.parameters())
    assert not [name for name, _ in model.named_parameters() if "teacher" in name]
    images = torch.rand(5, 8, 8)
    assert model.teacher.tasks == TASKS
    assert torch.equal(model.teacher(model.network, images), model.network(images))  # nothing was trained since
    with torch.no_grad():
        model.network[1].weight.zero_()
    assert not torch.equal(model.teacher(model.network, images), model.network(images))
    assert float(model.criterion.report.raw["lwf"]) > 0
