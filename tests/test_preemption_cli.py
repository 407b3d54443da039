"""The same command goes on with the same run, its curves included."""

import csv
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from lightning_losses.cli import catalogue, main

TOY = str(Path(__file__).parent / "recipes" / "toy")
LOGGERS = (
    "trainer.logger=[{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: '${run_dir}', name: curves}},"
    "{class_path: WandbLogger, init_args: {save_dir: '${run_dir}', project: p, offline: true}}]"
)


def fit(folder: str, *words: str) -> int:
    return main(["fit", TOY, f"run_dir={folder}", "trainer.enable_progress_bar=false", *words])


def curve(folder: str) -> list[str]:
    """The validation metric of all parts of a run. Lightning forgets the training means of an epoch that is cut."""
    files = sorted(Path(folder, "curves").glob("*/metrics.csv"))
    return [row["val/r2"] for file in files for row in csv.DictReader(file.open()) if row.get("val/r2")]


@pytest.fixture
def stop(monkeypatch):
    """Let the toy's training get a signal in the last batch of its second epoch."""
    toy = catalogue.find(TOY).find("recipe.model", "model.Line", object)
    train = toy.training_step

    def training_step(self, batch, index):
        if self.global_step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return train(self, batch, index)

    monkeypatch.setattr(toy, "training_step", training_step)
    return monkeypatch.undo


def test_a_stopped_command_goes_on_where_it_was(monkeypatch, tmp_path, capsys, stop):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert fit("parts", "trainer.logger=null", LOGGERS) == 128 + signal.SIGTERM
    last = "parts/checkpoints/last.ckpt"
    said = f"Stopped by SIGTERM at step 8, saved in {last}. Run the same command to resume.\n"
    assert capsys.readouterr().err.endswith(said)
    time.sleep(1.1)  # W&B names a folder by the second
    stop()
    monkeypatch.chdir(tmp_path)
    assert fit("parts", "trainer.logger=null", LOGGERS) == 0
    assert capsys.readouterr().out.startswith(f"Resuming from {last}\n")
    assert fit("whole") == 0
    parts, whole = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("parts", "whole"))
    torch.testing.assert_close(parts["state_dict"], whole["state_dict"], rtol=0, atol=0)
    assert curve("parts") == curve("whole")
    runs = [folder.name.rpartition("-")[2] for folder in Path("parts/wandb").glob("offline-run-*")]
    assert runs == [Path("parts/wandb-run.txt").read_text().strip()] * 2
