"""What becomes of a run and of its job, in a training of one process that signals itself."""

import os
import signal
from pathlib import Path
from signal import SIGTERM, SIGUSR1

import pytest
import torch
import wandb
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from torch.utils.data import DataLoader

from lightning_losses.callbacks import Preempted, PreemptionCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore")


class Line(LightningModule):
    """Sends a signal to itself in the third batch, and perhaps fails in the fourth."""

    def __init__(self, by=None, fails=False):
        super().__init__()
        self.layer, self.by, self.fails = torch.nn.Linear(1, 1), by, fails

    def training_step(self, batch, batch_idx):
        if self.by and batch_idx == 2:
            os.kill(os.getpid(), self.by)
        if self.fails and batch_idx == 3:
            raise RuntimeError("a worker is dead")
        return self.layer(batch).square().mean()

    def test_step(self, batch, batch_idx):
        os.kill(os.getpid(), self.by)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(torch.randn(8, 1))

    def test_dataloader(self):
        return self.train_dataloader()


def trainer(folder, *callbacks, **options):
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=list(callbacks) or [PreemptionCheckpoint()],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"logger": False, **options},
    )


@pytest.fixture
def scontrol(monkeypatch, tmp_path):
    """A job whose scontrol answers what a test says; what it was called with."""
    calls = tmp_path / "calls.txt"

    def _scontrol(state: str, requeued: str = "exit 0") -> Path:
        script = tmp_path / "bin" / "scontrol"
        script.parent.mkdir()
        fields = f"JobId=12 JobName=a=b {state} StartTime=2026-01-02T10:00:00"
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {calls}\n[ "$1" = show ] && echo "{fields}" && exit 0\n{requeued}\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("SLURM_JOB_ID", "12")
        return calls

    yield _scontrol
    for number in (SIGUSR1, SIGTERM):  # inside a job they stay caught, as its processes are about to end
        signal.signal(number, signal.SIG_DFL)


RUNNING, GRACE = "JobState=RUNNING PreemptTime=None", "JobState=RUNNING PreemptTime=2026-01-02T11:00:00"
BEFORE, ENDING = "JobState=RUNNING PreemptTime=2026-01-02T09:00:00", "JobState=COMPLETING PreemptTime=None"


@pytest.mark.parametrize(
    ("by", "state", "is_queued"),
    [
        (SIGUSR1, RUNNING, True),
        (SIGTERM, GRACE, True),
        (SIGTERM, RUNNING, False),
        (SIGTERM, BEFORE, False),
        (SIGTERM, ENDING, False),
    ],
    ids=["USR1", "preempted", "TERM by hand", "preempted before it was queued again", "cancelled"],
)
def test_only_a_job_that_has_to_make_room_is_queued_again(tmp_path, capsys, scontrol, by, state, is_queued):
    calls = scontrol(state)
    with pytest.raises(Preempted) as stop:
        trainer(tmp_path).fit(Line(by))
    assert stop.value.code == 128 + by
    assert ("requeue 12" in calls.read_text().splitlines()) == is_queued
    what = "is queued again" if is_queued else "is not queued again"
    text = f"Stopped by {by.name} at step 4, saved in {tmp_path / 'last.ckpt'}. Job 12 {what}.\n"
    assert capsys.readouterr().err == text


def test_the_task_of_an_array_is_named_by_both_ids(tmp_path, monkeypatch, scontrol):
    calls = scontrol(RUNNING)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with pytest.raises(Preempted):
        trainer(tmp_path).fit(Line(SIGUSR1))
    assert calls.read_text() == "requeue 7_3\n"


def test_it_is_said_why_a_job_cannot_be_queued_again(tmp_path, capsys, scontrol):
    scontrol(RUNNING, "echo 'Requested operation is presently disabled' >&2; exit 1")
    with pytest.raises(Preempted):
        trainer(tmp_path).fit(Line(SIGUSR1))
    assert "Job 12 cannot be queued again: Requested operation is presently disabled.\n" in capsys.readouterr().err


def test_a_job_may_be_left_alone(tmp_path, scontrol):
    calls = scontrol(RUNNING)
    with pytest.raises(Preempted):
        trainer(tmp_path, PreemptionCheckpoint(requeue=False)).fit(Line(SIGUSR1))
    assert not calls.exists()


def test_a_failure_after_the_signal_queues_the_job_again(tmp_path, capsys, scontrol):
    """A worker that the signal has killed, for example."""
    calls = scontrol(RUNNING)
    with pytest.raises(RuntimeError, match="a worker is dead"):
        trainer(tmp_path).fit(Line(SIGUSR1, fails=True))
    assert calls.read_text() == "requeue 12\n"
    assert "Stopped by SIGUSR1 at step 3, by RuntimeError, with nothing saved." in capsys.readouterr().err


def test_a_failure_without_a_signal_does_not(tmp_path, scontrol):
    calls = scontrol(RUNNING)
    line = Line(fails=True)
    with pytest.raises(RuntimeError, match="a worker is dead"):
        trainer(tmp_path).fit(line)
    assert not calls.exists()


def test_a_test_is_run_again_from_the_beginning(tmp_path, capsys, scontrol):
    scontrol(GRACE)
    with pytest.raises(Preempted):
        trainer(tmp_path).test(Line(SIGTERM))
    assert "in the test, which is to be run again. Job 12 is queued again." in capsys.readouterr().err


def test_a_signal_that_has_waited_for_the_start_comes_at_the_start(tmp_path):
    signal.pthread_sigmask(signal.SIG_BLOCK, [SIGUSR1])
    signal.raise_signal(SIGUSR1)
    with pytest.raises(Preempted):
        trainer(tmp_path).fit(Line())
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 1
    assert SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("end", ["stopped", "finished", "failed"])
def test_handlers_are_put_back(tmp_path, end):
    got = []
    before = signal.signal(SIGTERM, lambda *_: got.append("mine"))
    try:
        mine = signal.getsignal(SIGTERM)
        line = {"stopped": Line(SIGTERM), "finished": Line(), "failed": Line(fails=True)}[end]
        run = trainer(tmp_path)
        lightnings = run._signal_connector
        if end == "finished":
            run.fit(line)
        else:
            with pytest.raises(Preempted if end == "stopped" else RuntimeError):
                run.fit(line)
        assert (signal.getsignal(SIGTERM), signal.getsignal(SIGUSR1)) == (mine, signal.SIG_DFL)
        assert run._signal_connector is lightnings
        assert got == []
    finally:
        signal.signal(SIGTERM, before)


def test_it_writes_where_lightning_finds_the_last_checkpoint(tmp_path):
    saver = ModelCheckpoint(tmp_path / "checkpoints")
    with pytest.raises(Preempted):
        trainer(tmp_path, PreemptionCheckpoint(), saver).fit(Line(SIGUSR1))
    again = trainer(tmp_path, PreemptionCheckpoint(), ModelCheckpoint(tmp_path / "checkpoints"))
    again.fit(Line(), ckpt_path="last")
    assert again.ckpt_path == str(tmp_path / "checkpoints" / "last.ckpt")
    assert again.global_step == 8


def test_a_checkpoint_of_lightnings_handler_is_refused(tmp_path, monkeypatch):
    run = trainer(tmp_path)
    run.fit(Line())
    run.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")
    for name, value in {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_ID": "12"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(
        ValueError, match="`default_root_dir` must hold no checkpoint of Lightning's SLURM handler, found"
    ):
        trainer(tmp_path).fit(Line())


def test_another_run_of_wandb_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(Preempted):
        trainer(tmp_path, logger=WandbLogger(id="first", save_dir=tmp_path)).fit(Line(SIGUSR1))
    wandb.finish()
    resumed = {"ckpt_path": tmp_path / "last.ckpt", "weights_only": True}
    with pytest.warns(UserWarning, match="in the W&B run first, which WandbLogger\\(id=...\\) would continue"):
        trainer(tmp_path, logger=WandbLogger(id="second", save_dir=tmp_path)).fit(Line(), **resumed)
    wandb.finish()


@pytest.mark.parametrize("name", ["SIGUSR3", "SIGKILL"])
def test_a_wrong_signal_is_named(name):
    with pytest.raises(
        ValueError, match=f"`signals` must be names of signals that a process can catch, found '{name}'"
    ):
        PreemptionCheckpoint(signals=["SIGTERM", name])
