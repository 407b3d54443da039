"""A run that is killed at any moment goes on, and loses nothing."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_losses.cli import main

ROOT = Path(__file__).resolve().parents[1]
TOY = str(ROOT / "tests" / "recipes" / "toy")
LAST = Path("run", "checkpoints", "last.ckpt")


def test_twenty_killed_runs_are_equal_to_the_bit_to_one_that_was_not(tmp_path):
    """In a process of its own, which imports everything once and forks before any thread has started."""
    output = tmp_path / "kill.json"
    script = [sys.executable, str(ROOT / "benchmarks" / "kill.py"), "--repeats", "20", "--output", str(output)]
    subprocess.run(script, check=True, capture_output=True, cwd=tmp_path)
    result = json.loads(output.read_text())
    assert result["lost"] == [{}] * 20
    assert result["done"]["killed while it wrote a checkpoint"] > 0
    assert result["done"]["killed between two checkpoints"] > 0
    assert result["done"]["last checkpoint cut short after that"] > 0


@pytest.fixture
def fit(monkeypatch, tmp_path, capsys):
    """Train the toy for some epochs in run_dir=run; what was printed."""
    monkeypatch.chdir(tmp_path)

    def _fit(epochs, *words):
        assert main(["fit", TOY, "run_dir=run", f"trainer.max_epochs={epochs}", *words]) == 0
        return capsys.readouterr().out

    return _fit


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_the_command_line_resumes_from_the_previous_checkpoint(fit, harm):
    """Validation of the toy improves in each epoch, so that each writes a last checkpoint."""
    fit(4, "run_dir=whole")
    fit(3)
    if harm == "truncated":
        os.truncate(LAST, LAST.stat().st_size // 2)
        reason = "damaged"
    else:
        LAST.unlink()
        reason = "missing"
    out = fit(4)
    kept = LAST.with_name("last.previous.ckpt")
    assert out.splitlines()[0] == f"Resuming from {kept}, as {LAST} is {reason}"
    expected = weights(Path("whole", *LAST.parts[1:]))
    assert all(torch.equal(value, expected[name]) for name, value in weights(LAST).items())


def test_the_command_line_refuses_a_truncated_checkpoint_without_another(fit, capsys):
    fit(1)
    for other in LAST.parent.glob("*.ckpt"):
        if other.name != LAST.name:
            other.unlink()
    os.truncate(LAST, 1000)
    assert main(["fit", TOY, "run_dir=run", "trainer.max_epochs=2"]) == 1
    error = capsys.readouterr().err
    assert f"{LAST} is damaged: its 1000 bytes lack the end of the archive. There is no other checkpoint" in error
    assert len(error.splitlines()) == 1


SEGMENTATION = [
    "model.criterion.balancer=GradNorm",
    "model.channels=[8,16]",
    "data.size=32",
    "trainer.accumulate_grad_batches=2",
    "trainer.callbacks.1.init_args.every_n_train_steps=3",
    "trainer.logger={class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: '${run_dir}'}}",
]


@pytest.mark.slow
def test_a_killed_segmentation_is_equal_to_the_bit_to_one_that_was_not(tmp_path):
    """The installed command, killed three times within the seconds after its first checkpoint."""
    script = str(Path(sys.executable).with_name("lightning-losses"))
    command = [script, "fit", "segmentation", "--size", "smoke", *SEGMENTATION]

    def start(name):
        return subprocess.Popen([*command, f"run_dir={name}"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    draw = random.Random(0)
    for _ in range(3):
        process = start("run")
        before = written(tmp_path / LAST)
        while written(tmp_path / LAST) == before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        process.kill()
        process.communicate()
    assert start("run").communicate()[0].startswith(f"Resuming from {LAST}\n")
    start("whole").communicate()
    resumed, whole = (tmp_path / name for name in ("run", "whole"))
    assert metrics(resumed) == metrics(whole)
    resumed, whole = (torch.load(run / LAST.relative_to("run"), weights_only=True) for run in (resumed, whole))
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(resumed[part], whole[part], rtol=0, atol=0)
    assert resumed["lr_schedulers"] == whole["lr_schedulers"]


def metrics(run):
    return json.loads((run / "result.json").read_text())["metrics"]


def written(file):
    """When the file was written; 0 if it does not exist."""
    return file.stat().st_mtime_ns if file.exists() else 0
