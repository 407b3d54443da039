"""Recipes whose parameters lie on two ranks in shards train as under DDP, resume to the bit, and are tested."""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from parity.ranks import RANKS, on_ranks
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from lightning_losses.checkpoint_io import AtomicCheckpointIO, previous
from lightning_losses.cli import main
from lightning_losses.recipes.segmentation.digits import DigitScenes
from lightning_losses.recipes.segmentation.model import Segmenter
from lightning_losses.recipes.segmentation.networks import build_network
from lightning_losses.recipes.sharding import blocks
from lightning_losses.sharded_strategy import consolidate

SMALL = [
    *("--size", "smoke", "model.channels=[4,8]", "data.size=32", "data.batch_size=4", "trainer.limit_train_batches=6"),
    *("trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.callbacks.1.init_args.every_n_train_steps=2"),
    "model.criterion.balancer=GradNorm",
]
STOPPED = 9  # steps of 12; the last checkpoint is after 8, in the second epoch
FULL = 6  # the step whose checkpoint does not fit on the disk
LAST, BEST = Path("checkpoints", "last.ckpt"), Path("checkpoints", "best.ckpt")
DDP = ["trainer.strategy=ddp", "trainer.devices=2", "trainer.callbacks.4.init_args={every_n_steps: 1000}"]
CRITERION = {"terms": {"dice": "Dice"}}
LIGHTNINGS = (
    "trainer.strategy={class_path: lightning.pytorch.strategies.ModelParallelStrategy, "
    "init_args: {data_parallel_size: 2, tensor_parallel_size: 1}}"
)


def call(verb: str, recipe: str, run: str, *words: str) -> int:
    csv = f"trainer.logger={{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: {run}}}}}"
    return main([verb, recipe, *SMALL, f"run_dir={run}", csv, *words])


def fails(method: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """The method, which does its work and then fails when the condition, asked for its arguments, holds."""

    def failing(*args: Any) -> Any:
        result = method(*args)
        if when(*args):
            raise OSError(28, "No space left on device")
        return result

    return failing


def work(rank: int, folder: Path) -> dict[str, int]:
    os.chdir(folder)
    warnings.simplefilter("ignore")
    codes = {"ddp": call("fit", "segmentation", "ddp", *DDP), "whole": call("fit", "segmentation/fsdp", "whole")}
    with pytest.MonkeyPatch.context() as patch:
        stop = fails(Segmenter.training_step, lambda model, *_: model.global_step == STOPPED)
        patch.setattr(Segmenter, "training_step", stop)
        codes["stopped"] = call("fit", "segmentation/fsdp", "resumed")
    if rank == 0:  # as a kill leaves it between the two renamings of a checkpoint
        shutil.rmtree(previous(Path("resumed", LAST)))
        Path("resumed", LAST).rename(previous(Path("resumed", LAST)))
    torch.distributed.barrier()
    codes["resumed"] = call("fit", "segmentation/fsdp", "resumed")
    codes["tested"] = call("test", "segmentation/fsdp", "resumed")
    with pytest.MonkeyPatch.context() as patch:
        save = fails(ModelParallelStrategy.save_checkpoint, lambda _, state, *__: state["global_step"] == FULL)
        patch.setattr(ModelParallelStrategy, "save_checkpoint", save)
        codes["full"] = call("fit", "segmentation/fsdp", "full")
    codes["lightning's"] = call("fit", "segmentation/fsdp", "lightnings", LIGHTNINGS)
    return codes


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, int]]]:
    """Where they are, and the exit codes on each rank."""
    folder = tmp_path_factory.mktemp("fsdp")
    return folder, on_ranks(work, folder)


def state(checkpoint: Path) -> dict[str, Any]:
    """Weights, optimizer and what modules keep beside them, of all ranks."""
    whole = checkpoint.with_suffix(".whole")
    dcp_to_torch_save(checkpoint, whole)
    return torch.load(whole, weights_only=True)


def step(checkpoint: Path) -> int:
    return torch.load(checkpoint / "meta.pt", weights_only=True)["global_step"]


def metrics(run: Path) -> dict[str, float]:
    return json.loads((run / "result.json").read_text())["metrics"]


def test_all_ranks_say_how_it_went(runs) -> None:
    _, codes = runs
    assert codes == RANKS * [
        {"ddp": 0, "whole": 0, "stopped": 1, "resumed": 0, "tested": 0, "full": 1, "lightning's": 0}
    ]


def test_it_trains_as_under_ddp(runs) -> None:
    folder, _ = runs
    ddp = torch.load(folder / "ddp" / LAST, weights_only=True)["state_dict"]
    for run in ("whole", "lightnings"):
        torch.testing.assert_close(state(folder / run / LAST)["state_dict"], ddp, rtol=1e-4, atol=1e-6)
        assert metrics(folder / run) == pytest.approx(metrics(folder / "ddp"), rel=1e-3)
    assert metrics(folder / "ddp")["test/loss"] > 0


def test_every_rank_holds_half_of_every_tensor_of_the_network_and_its_optimizer(runs) -> None:
    folder, _ = runs
    tensors = FileSystemReader(folder / "whole" / LAST).read_metadata().state_dict_metadata
    sharded = [n for n in tensors if n.endswith(("weight", "bias", "exp_avg", "exp_avg_sq")) and "network" in n]
    assert len(sharded) == 3 * len(list(Segmenter(CRITERION, 11, channels=(4, 8)).network.parameters()))
    for name in sharded:
        rows = [chunk.sizes[0] for chunk in tensors[name].chunks]
        assert len(rows) == RANKS
        assert max(rows) == -(-tensors[name].size[0] // RANKS)


def test_stopped_and_resumed_is_bit_equal(runs) -> None:
    folder, _ = runs
    whole, resumed = (state(folder / run / LAST) for run in ("whole", "resumed"))
    assert whole["state_dict"]["criterion._extra_state"] == {"steps": 12}
    for part in (lambda state: state["state_dict"], lambda state: state["optimizer_0"]["state"]):
        torch.testing.assert_close(part(resumed), part(whole), rtol=0, atol=0)
    assert metrics(folder / "resumed") == metrics(folder / "whole")


def test_a_checkpoint_that_cannot_be_written_leaves_those_before_it(runs) -> None:
    folder, _ = runs
    last = folder / "full" / LAST
    assert (step(last), step(previous(last))) == (4, 2)
    assert {path.name for path in last.parent.iterdir()} == {"last.ckpt", "last.previous.ckpt"}
    assert state(last)["state_dict"]["criterion._extra_state"] == {"steps": 4}


def test_one_process_can_test_what_two_have_trained(runs, tmp_path: Path) -> None:
    folder, _ = runs
    consolidate(folder / "whole" / BEST, tmp_path / "best.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    model = Segmenter.load_from_checkpoint(tmp_path / "best.ckpt")
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, limit_test_batches=8, default_root_dir=tmp_path
    )  # fmt: skip
    data = DigitScenes(size=32, batch_size=4, seed=0)
    (found,) = trainer.test(model, data, verbose=False)
    assert found["test/iou"] == pytest.approx(metrics(folder / "whole")["test/iou"], rel=1e-6)


def test_one_process_alone_says_what_to_do_with_shards(runs, capsys: pytest.CaptureFixture) -> None:
    folder, _ = runs
    with pytest.raises(ValueError, match="is a folder of shards.*Keep trainer.strategy, or make one file of it"):
        Trainer(accelerator="cpu", logger=False, plugins=[AtomicCheckpointIO()]).test(
            Segmenter(CRITERION, 11, channels=(4, 8)), DigitScenes(size=32), ckpt_path=folder / "whole" / BEST
        )


def test_only_shards_can_be_made_one_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`folder` must be a checkpoint in shards, found"):
        consolidate(tmp_path, tmp_path / "whole.ckpt")


@pytest.mark.parametrize("architecture", ["unet", "lraspp_mobilenet_v3_large", "deeplabv3_resnet50"])
def test_blocks_hold_parameters_once_and_none_holds_most_of_them(architecture: str) -> None:
    network = build_network(architecture, 3, 11, (16, 32, 64, 128))
    found = [parameter for block in blocks(network) for parameter in block.parameters()]
    assert len({id(parameter) for parameter in found}) == len(found) == len(list(network.parameters()))
    assert max(sum(p.numel() for p in block.parameters()) for block in blocks(network)) < 0.5 * sum(
        p.numel() for p in found
    )


@pytest.mark.parametrize("size", ["default", "smoke", "full"])
def test_every_configuration_is_valid(size: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["validate-config", "segmentation/fsdp", "--size", size]) == 0, capsys.readouterr().err
