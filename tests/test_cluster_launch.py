"""The segmentation recipe on a real cluster of two nodes, by the scripts that `lightning-losses launch` writes.

Threads would add in another order; with one thread for each process, two nodes end with the bits of two processes of one
machine.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cluster.jobs import lose
from cluster.processes import SECONDS
from cluster.slurm import why_not

from lightning_losses.dashboards.wandb_log import read_wandb

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

EPOCHS, BATCHES = 8, 25  # the checkpoint that is written every 100 steps then has the last one
PROGRAM = Path(sys.executable).with_name("lightning-losses")
SMALL = [
    "--size",
    "smoke",
    "data.size=32",
    "model.channels=[8,16]",
    f"trainer.max_epochs={EPOCHS}",
    f"trainer.limit_train_batches={BATCHES}",
    "trainer.log_every_n_steps=1",
]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def call(folder: Path, environment: dict[str, str], *words: str) -> str:
    """What `lightning-losses` prints."""
    done = subprocess.run(
        [PROGRAM, *words],
        cwd=folder,
        env={**environment, **ENVIRONMENT},
        check=False,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory):
    """The run of two processes, without SLURM."""
    folder = tmp_path_factory.mktemp("two_processes")
    words = ["trainer.devices=2", "trainer.strategy=ddp", f"run_dir={folder}/run"]
    call(folder, dict(os.environ), "fit", "segmentation", *SMALL, *words)
    return folder / "run"


@pytest.fixture
def launch(cluster, tmp_path):
    """Queue the recipe on both nodes; the id of its job."""

    def _launch() -> str:
        words = ["--backend", "slurm", "--nodes", "2", "--devices", "1", "run_dir=run"]
        said = call(tmp_path, cluster.environment, "launch", "segmentation", *words, *SMALL)
        return re.match(r"submitted as job (\d+)\n", said)[1]

    return _launch


def in_the_middle(run: Path) -> None:
    """Until the first of the epochs is saved."""
    deadline = time.monotonic() + SECONDS
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline, "There is no checkpoint yet"
        time.sleep(0.01)


def log(run: Path, job: str) -> str:
    return (run / f"slurm-{job}.log").read_text()


def assert_same(run: Path, expected: Path) -> None:
    """Two runs have finished with the same bits."""
    last, wanted = (torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (run, expected))
    assert last["global_step"] == wanted["global_step"] == EPOCHS * BATCHES
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(last[part], wanted[part], rtol=0, atol=0)


def curves(run: Path) -> dict[str, dict[float, float]]:
    """What W&B has kept, whenever the run was started: the losses of all steps and the metric of all epochs."""
    logs = [read_wandb(folder).points for folder in sorted(run.glob("wandb/offline-run-*"))]
    return {key: {step: value for log in logs for step, value in log[key].items()} for key in ("train/loss", "val/iou")}


def test_two_nodes_train_the_recipe_as_two_processes_do(cluster, launch, two_processes, tmp_path):
    job = launch()
    end = cluster.wait(job)
    assert (end["JobState"], end["Restarts"], end["NumNodes"]) == ("COMPLETED", "0", "2"), log(tmp_path / "run", job)
    assert_same(tmp_path / "run", two_processes)


def test_it_survives_a_preemption(cluster, launch, two_processes, tmp_path):
    """SLURM sends SIGTERM to all processes here, and every step logs: W&B's is spared, and has the whole curves."""
    job = launch()
    in_the_middle(tmp_path / "run")
    cluster.preempt()
    end = cluster.wait(job)
    said = log(tmp_path / "run", job)
    assert (end["JobState"], end["Restarts"]) == ("COMPLETED", "1"), said
    assert re.search(rf"Stopped by SIGTERM at step \d+, saved in run/checkpoints/last.ckpt. Job {job} is queued", said)
    assert "Resuming from run/checkpoints/last.ckpt\n" in said
    assert_same(tmp_path / "run", two_processes)
    assert curves(tmp_path / "run") == curves(two_processes)


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_it_survives_the_death_of_a_node(cluster, launch, two_processes, tmp_path, node):
    job = launch()
    in_the_middle(tmp_path / "run")
    lose(cluster, node)
    end = cluster.wait(job)
    said = log(tmp_path / "run", job)
    assert (end["JobState"], end["Restarts"]) == ("COMPLETED", "1"), said
    assert "Resuming from run/checkpoints/last.ckpt\n" in said
    assert_same(tmp_path / "run", two_processes)
