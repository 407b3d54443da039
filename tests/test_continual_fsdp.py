"""Networks in shards learn one task after another as under DDP, and go on to the bit where they were stopped."""

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from continual_methods import LWF, TASK, Stop, ewc
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from parity.ranks import RANKS, on_ranks
from test_fsdp_recipes import LAST, fails, metrics, state
from torch.distributed.checkpoint import FileSystemReader

from lightning_losses.callbacks import (
    ContinualLearning,
    FisherInformation,
    PathIntegral,
    RandomState,
    ResumableCheckpoint,
    TeacherSnapshot,
)
from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.cli import main
from lightning_losses.recipes.continual.data import DigitTasks
from lightning_losses.recipes.continual.model import ContinualClassifier
from lightning_losses.sharded_strategy import FullyShardedStrategy, consolidate

TASKS, STEPS = 2, 4
STOPPED = STEPS + 3  # of the second task; the last checkpoint is that behind step 6
HIDDEN = 9  # an odd number: the ranks share it unequally
SMALL = [
    *("--size", "smoke", f"model.hidden=[{HIDDEN}]", f"data.tasks={TASKS}", f"data.iterations={STEPS}"),
    *("data.batch_size=4", "data.eval_batch_size=8", "trainer.accelerator=cpu"),
    "trainer.callbacks.0.init_args.consolidation.init_args.samples=31",
    "trainer.callbacks.2.init_args.every_n_train_steps=2",
]
DDP = ["trainer.strategy=ddp", "trainer.devices=2", "trainer.callbacks.5.init_args={every_n_steps: 1000}"]
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def call(verb: str, recipe: str, run: str, *words: str) -> int:
    csv = f"trainer.logger={{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: {run}}}}}"
    return main([verb, recipe, *SMALL, f"run_dir={run}", csv, *words])


def recipes(rank: int) -> dict[str, int]:
    """Exit codes of the command."""
    codes = {"ddp": call("fit", "continual", "ddp", *DDP), "whole": call("fit", "continual/fsdp", "whole")}
    with pytest.MonkeyPatch.context() as patch:
        stop = fails(ContinualClassifier.training_step, lambda model, *_: model.global_step == STOPPED)
        patch.setattr(ContinualClassifier, "training_step", stop)
        codes["stopped"] = call("fit", "continual/fsdp", "resumed")
    codes["resumed"] = call("fit", "continual/fsdp", "resumed")
    return codes


METHODS: dict[str, Any] = {
    "separate": ({"ewc": ewc(20.0, "separate")}, lambda: FisherInformation(estimator="empirical", samples=31)),
    "SI": ({"ewc": ewc(20.0)}, PathIntegral),
    "LwF": ({"lwf": LWF}, lambda: TeacherSnapshot(module="network")),
}
KEPT = ["separate", "SI"]


def train(run: str, method: str, strategy: Strategy | str, stop: int | None = None, resume: bool = False) -> None:
    seed_everything(99 if resume else 0, verbose=False)
    terms, consolidation = METHODS[method]
    criterion = {"terms": {"task": TASK, **terms}}
    model = ContinualClassifier(criterion, pixels=64, classes=10, tasks=TASKS, hidden=(HIDDEN,))
    data = DigitTasks("permuted", "task", tasks=TASKS, iterations=STEPS, batch_size=8, eval_batch_size=8)
    saver = ResumableCheckpoint(run, every_n_train_steps=2, save_top_k=0, save_last=True, enable_version_counter=False)
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy=strategy, max_epochs=TASKS, default_root_dir=run, logger=False,
        callbacks=[Stop(stop), ContinualLearning(consolidation=consolidation()), RandomState(), saver],
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, data, ckpt_path=Path(run, "last.ckpt") if resume else None)


def refusal(method: str, strategy: Strategy) -> str:
    with pytest.raises(IncompatibleError) as error:
        train("refused", method, strategy)
    return str(error.value)


def work(rank: int, folder: Path) -> dict[str, Any]:
    os.chdir(folder)
    warnings.simplefilter("ignore")
    found: dict[str, Any] = {"codes": recipes(rank)}
    for method in KEPT:
        train(f"{method} ddp", method, "ddp")
        train(f"{method} whole", method, FullyShardedStrategy())
        with pytest.raises(InterruptedError):
            train(f"{method} resumed", method, FullyShardedStrategy(), stop=STOPPED)
        train(f"{method} resumed", method, FullyShardedStrategy(), resume=True)
    return found | {
        "teacher": refusal("LwF", FullyShardedStrategy()),
        "lightning's": refusal("SI", ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)),
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Where they are, and what each rank has found."""
    folder = tmp_path_factory.mktemp("fsdp")
    return folder, on_ranks(work, folder)


def tensors(checkpoint: Path) -> list[Any]:
    """Of the model, its anchors and the optimizer, of all ranks."""
    found = state(checkpoint)
    return [without_teacher(found["state_dict"]), found["optimizer_0"]["state"]]


def without_teacher(weights: dict[str, Any]) -> dict[str, Any]:
    """Which is empty, and of that nothing is in a checkpoint of shards."""
    return {name: value for name, value in weights.items() if not name.startswith("teacher")}


def test_all_ranks_say_how_it_went(runs) -> None:
    _, found = runs
    assert [rank["codes"] for rank in found] == RANKS * [{"ddp": 0, "whole": 0, "stopped": 1, "resumed": 0}]


def test_the_recipe_trains_as_under_ddp(runs) -> None:
    folder, _ = runs
    ddp = torch.load(folder / "ddp" / LAST, weights_only=True)["state_dict"]
    torch.testing.assert_close(tensors(folder / "whole" / LAST)[0], without_teacher(ddp), **CLOSE)
    assert metrics(folder / "whole") == pytest.approx(metrics(folder / "ddp"), rel=1e-3)
    (anchor,) = ddp["criterion.terms.ewc.loss._extra_state"]["anchors"]
    assert all(fisher.any() for fisher in anchor["fisher"].values())


@pytest.mark.parametrize("method", KEPT)
def test_every_method_trains_as_under_ddp(runs, method: str) -> None:
    folder, _ = runs
    ddp = torch.load(folder / f"{method} ddp" / "last.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(tensors(folder / f"{method} whole" / "last.ckpt")[0], without_teacher(ddp), **CLOSE)
    anchors = ddp["criterion.terms.ewc.loss._extra_state"]["anchors"]
    assert len(anchors) == (TASKS if method == "separate" else 1)
    assert any(fisher.any() for fisher in anchors[0]["fisher"].values())


def test_the_recipe_stopped_and_resumed_is_bit_equal(runs) -> None:
    folder, _ = runs
    whole, resumed = (tensors(folder / run / LAST) for run in ("whole", "resumed"))
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    assert metrics(folder / "resumed") == metrics(folder / "whole")
    assert (folder / "resumed" / "tasks.csv").read_text() == (folder / "whole" / "tasks.csv").read_text()


@pytest.mark.parametrize("method", KEPT)
def test_every_method_stopped_and_resumed_is_bit_equal(runs, method: str) -> None:
    folder, _ = runs
    whole, resumed = (folder / f"{method} {run}" / "last.ckpt" for run in ("whole", "resumed"))
    torch.testing.assert_close(tensors(resumed), tensors(whole), rtol=0, atol=0)
    kept = [
        torch.load(path / "meta.pt", weights_only=True)["callbacks"]["ContinualLearning"] for path in (resumed, whole)
    ]
    torch.testing.assert_close(*kept, rtol=0, atol=0)
    if method == "SI":
        assert kept[0]["consolidation"]["credit"]["network.1.weight"].shape == (HIDDEN, 64)


def test_every_rank_holds_its_part_of_the_anchors(runs) -> None:
    folder, _ = runs
    tensors = FileSystemReader(folder / "separate whole" / "last.ckpt").read_metadata().state_dict_metadata
    anchors = {name: tensor for name, tensor in tensors.items() if ".anchors." in name}
    assert len(anchors) == TASKS * 2 * 4
    for tensor in anchors.values():
        assert [chunk.sizes[0] for chunk in tensor.chunks] == [-(-tensor.size[0] // 2), tensor.size[0] // 2]


def test_one_process_goes_on_with_what_two_have_trained(runs, tmp_path: Path) -> None:
    folder, _ = runs
    consolidate(folder / "whole" / LAST, tmp_path / "one.ckpt")
    model = ContinualClassifier.load_from_checkpoint(tmp_path / "one.ckpt")
    (anchor,) = model.criterion.terms["ewc"].loss.anchors
    ddp = torch.load(folder / "ddp" / LAST, weights_only=True)["state_dict"]
    torch.testing.assert_close(
        anchor.fisher, ddp["criterion.terms.ewc.loss._extra_state"]["anchors"][0]["fisher"], **CLOSE
    )
    assert model.criterion.terms["ewc"].loss(model) == 0  # the last checkpoint is behind the end of the last task


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("teacher", "TeacherSnapshot does not work with ModelParallelStrategy: it needs the parameters whole"),
        ("lightning's", "PathIntegral does not work with ModelParallelStrategy: what its checkpoints hold of tasks that have ended cannot be read again. Instead, use lightning_losses.sharded_strategy.FullyShardedStrategy"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(runs, what: str, text: str) -> None:
    _, found = runs
    for rank in found:
        assert text in rank[what]


@pytest.mark.parametrize("size", ["default", "smoke", "full"])
def test_every_configuration_is_valid(size: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["validate-config", "continual/fsdp", "--size", size]) == 0, capsys.readouterr().err
