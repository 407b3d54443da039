"""W&B's process survives what SLURM sends to all processes of a job, and does not survive the training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_losses.cli import wandb_service
from lightning_losses.dashboards import history

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are listed as Linux does")

TOY = Path(__file__).parent / "recipes" / "toy"
LOGGER = "trainer.logger={class_path: WandbLogger, init_args: {save_dir: '${run_dir}', project: p, offline: true}}"
SCRIPT = f"""
import os, signal, sys, time
from pathlib import Path
import wandb
from lightning_losses.cli import catalogue, main, wandb_service

def descendants(process):
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(file.read_text().rpartition(")")[2].split()[1]) == process:
                yield int(file.parent.name)
                yield from descendants(int(file.parent.name))
        except FileNotFoundError:  # it has ended
            pass

def training_step(self, batch, index):
    if self.global_step == int(sys.argv[2]):
        dict(wandb.run.summary)  # W&B's process answers when it has all rows
        for process in [*descendants(os.getpid()), os.getpid()]:
            os.kill(process, getattr(signal, sys.argv[1]))
        time.sleep(0.5)  # in which W&B's process dies, if it does
    loss = train(self, batch, index)
    self.log("train/loss", loss, on_step=True)
    return loss

wandb_service.IDLE = "20s"  # W&B's process writes every 15 s
line = catalogue.find({str(TOY)!r}).find("recipe.model", "model.Line", object)
train, line.training_step = line.training_step, training_step
words = ["run_dir=run", "trainer.enable_progress_bar=false", "trainer.logger=null", {LOGGER!r}]
sys.exit(main(["fit", {str(TOY)!r}, *words]))
"""


def fit(folder: Path, name: str, step: int) -> subprocess.CompletedProcess[str]:
    """A run in a job of SLURM, all of whose processes get a signal in a step."""
    scontrol = folder / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text("#!/bin/sh\necho JobState=RUNNING StartTime=2026 PreemptTime=None\n")
    scontrol.chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "PATH": f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(step)],
        cwd=folder,
        env={**os.environ, **job, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def processes(folder: Path) -> list[str]:
    """What is left of a run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}" in (process / "environ").read_text().split("\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended, or is somebody else's
            pass
    return found


def logged(folder: Path, key: str = "train/loss") -> list[float]:
    """The steps of what W&B has kept."""
    return history.read(folder / "run").series[key].steps.tolist()


@pytest.mark.parametrize(("name", "step", "stops"), [("SIGTERM", 5, 7), ("SIGUSR1", 7, 8)])
def test_a_signal_to_all_processes_loses_no_step_and_no_row(tmp_path, name, step, stops):
    """In the midst of an epoch of four steps, and in its last one."""
    done = fit(tmp_path, name, step)
    assert done.returncode == 128 + signal.Signals[name], done.stderr
    assert f"Stopped by {name} at step {stops}, saved in run/checkpoints/last.ckpt. " in done.stderr
    assert logged(tmp_path) == list(range(stops))
    assert logged(tmp_path, "train/r2") == list(range(3, stops, 4))
    assert processes(tmp_path) == []


def test_it_ends_and_writes_all_when_the_training_is_killed(tmp_path):
    assert fit(tmp_path, "SIGKILL", 7).returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while processes(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(tmp_path) == []
    assert logged(tmp_path) == list(range(7))


def test_where_it_does_not_start_wandb_starts_it_itself(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    wandb_service.start()
    assert wandb_service.VARIABLE not in os.environ
