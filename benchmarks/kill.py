"""What does a run lose that is killed and resumed?

A small training (dropout, Adam, a learning rate that falls, GradNorm, two batches a step, validation) runs undisturbed
once. Then runs are killed with SIGKILL one to three times each, at random moments, half of them in the next write of
a checkpoint, and resumed from what is there. After a third of the kills the last checkpoint is cut short, too. After
every batch of every process the loss and digests of all state are compared with those of the undisturbed run. Target:
no difference.
"""

import hashlib
import json
import logging
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import torch
from _common import arguments, publish, table
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_losses import LossModule, losses
from lightning_losses.balancers import GradNorm
from lightning_losses.callbacks.random_state import RandomState, get_generators
from lightning_losses.callbacks.resumable_checkpoint import ResumableCheckpoint
from lightning_losses.checkpoint_io import AtomicCheckpointIO, previous
from lightning_losses.recipes.sampling import ResumableData, ResumableLoader, seeded

EPOCHS, BATCHES, SIZE = 3, 9, 4  # an odd number of batches: the last step of an epoch has one
LAST, DIARY = "last.ckpt", "states.jsonl"


class Points(Dataset):
    """Points of a noisy parabola, new ones in every epoch."""

    def __len__(self):
        return BATCHES * SIZE

    def __getitem__(self, key):
        with seeded(1, *(key if isinstance(key, tuple) else (0, key))):
            x = torch.randn(3)
            return x, x.square().sum() + 0.1 * torch.randn(())


class Data(ResumableData):
    """Training batches in an order that is resumed, and validation batches."""

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled by epoch."""
        return self.resumable_loader(Points(), batch_size=SIZE, seed=0)

    def val_dataloader(self) -> DataLoader:
        """In order."""
        return DataLoader(Points(), batch_size=2 * SIZE)


class Model(LightningModule):
    """Two heads on a trunk with dropout, balanced by GradNorm."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Dropout(0.3))
        self.heads = nn.Linear(32, 2)
        self.criterion = LossModule({"squared": losses.MSE(), "robust": losses.SmoothL1()}, balancer=GradNorm())

    def training_step(self, batch, _):
        """The sum of the heads is to fit the target, under two losses."""
        features = self.trunk(batch[0])
        return self.criterion(input=self.heads(features).sum(1), target=batch[1], shared=features)

    def validation_step(self, batch, _):
        """Draws, too."""
        noise = 0.1 * torch.randn_like(batch[0])
        prediction = self.heads(self.trunk(batch[0] + noise)).sum(1)
        self.log("val/error", (prediction - batch[1]).square().mean())

    def configure_optimizers(self):
        """Adam, with a schedule by step."""
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Diary(Callback):
    """Writes digests of all state after each batch and at the end, a line each."""

    def __init__(self, file: Path):
        self.file = file

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        """After a batch, the loss and the generators are written, too."""
        loss = {"loss": outputs["loss"].item().hex(), "random": digest(get_generators())}
        self.write(trainer, f"epoch {trainer.current_epoch}, batch {batch_idx}", loss)

    def on_fit_end(self, trainer, model):
        """Generators are not compared here: after the last batch, a run that was resumed draws no more."""
        self.write(trainer, "end", {})

    def write(self, trainer, moment, entries):
        """Append a line."""
        parts = {
            "weights": dict(trainer.model.named_parameters()),
            "optimizer": trainer.optimizers[0].state_dict(),
            "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "balancer": trainer.model.criterion.state_dict(),
            "position": trainer.datamodule.state_dict(),
        }
        entries |= {name: digest(part) for name, part in parts.items()}
        with self.file.open("a") as stream:
            stream.write(json.dumps([moment, entries]) + "\n")


def digest(value) -> str:
    """A hash that changes with any bit of any tensor or number inside."""
    if isinstance(value, torch.Tensor):
        value = (str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes())
    elif isinstance(value, dict):
        value = [(key, digest(item)) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        value = [digest(item) for item in value]
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def fit(folder: Path) -> None:
    """Train, from the last checkpoint if there is one."""
    seed_everything(0, verbose=False)
    saver = {"dirpath": folder, "save_last": True, "enable_version_counter": False}
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        accumulate_grad_batches=2,
        callbacks=[
            RandomState(),
            Diary(folder / DIARY),
            ModelCheckpoint(**saver, filename="best", monitor="val/error"),
            ResumableCheckpoint(**saver, every_n_train_steps=2, save_top_k=0),
        ],
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    last = folder / LAST
    trainer.fit(Model(), Data(), ckpt_path=last if last.exists() else None)


def start(folder: Path) -> int:
    """Fork a process that trains, in which everything is imported already; its id."""
    process = os.fork()
    if process:
        return process
    try:
        fit(folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def finish(folder: Path) -> None:
    """Train to the end."""
    if os.waitpid(start(folder), 0)[1] != 0:
        raise RuntimeError("The training failed.")


def kill(folder: Path, seconds: float, in_a_write: bool) -> str | None:
    """Train, kill after `seconds` or in the first write of a checkpoint after them; where it hit, None if too late."""
    process = start(folder)
    time.sleep(seconds)
    while in_a_write and not is_writing(folder) and not has_ended(process):
        time.sleep(1e-4)
    too_late = has_ended(process)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    if too_late:
        return None
    if is_writing(folder):
        return "killed while it wrote a checkpoint"
    return f"killed {'between two checkpoints' if (folder / LAST).exists() else 'before its first checkpoint'}"


def is_writing(folder: Path) -> bool:
    """Whether a checkpoint is being written, or was when the process died."""
    return any(folder.glob(".*.part"))


def has_ended(process: int) -> bool:
    """Whether a child is dead, which is left to be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def cut(folder: Path, draw: random.Random) -> bool:
    """Keep a random share of the last checkpoint, if it has a previous one."""
    last = folder / LAST
    if not last.exists() or not previous(last).exists():
        return False
    os.truncate(last, draw.randrange(last.stat().st_size))
    return True


def entries(folder: Path) -> list[tuple[str, dict[str, str]]]:
    """What the diary says; a line that a kill has cut is left out."""
    diary = folder / DIARY
    lines = diary.read_text().splitlines(keepends=True) if diary.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def differences(whole: dict[str, dict[str, str]], folder: Path) -> dict[str, int]:
    """How often each part of the state differs from the undisturbed run's, and how many batches are missing."""
    found = entries(folder)
    differing = Counter(name for moment, parts in found for name in parts if whole[moment][name] != parts[name])
    missing = len(whole.keys() - {moment for moment, _ in found})
    return {**differing, **({"missing": missing} if missing else {})}


def torment(folder: Path, kills: int, duration: float, draw: random.Random) -> Counter[str]:
    """Train with so many kills, then to the end; what was done. A run that ends too early is begun anew."""
    folder.mkdir()
    done = Counter[str]()
    for _ in range(kills):
        where = kill(folder, draw.uniform(0, duration), in_a_write=draw.random() < 1 / 2)
        if where is None:
            shutil.rmtree(folder)
            return torment(folder, kills, duration, draw)
        done[where] += 1
        if draw.random() < 1 / 3 and cut(folder, draw):
            done["last checkpoint cut short after that"] += 1
    finish(folder)
    return done


def experiment(home: Path, repeats: int) -> tuple[list[dict[str, int]], Counter[str]]:
    """What each run lost, and what was done to them all together."""
    undisturbed = home / "undisturbed"
    undisturbed.mkdir()
    began = time.monotonic()
    finish(undisturbed)
    duration = time.monotonic() - began
    whole, draw = dict(entries(undisturbed)), random.Random(0)
    lost, done = [], Counter[str]()
    for turn in range(repeats):
        done += torment(home / str(turn), 1 + turn % 3, duration, draw)
        lost.append(differences(whole, home / str(turn)))
    return lost, done


def main() -> None:
    options = arguments(__doc__, repeats=20)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as home:
        lost, done = experiment(Path(home), options.repeats)
    unharmed = lost.count({})
    verdict = (
        f"{unharmed} of {options.repeats} runs lose nothing: loss, weights, optimizer, schedule, balancer, sampler "
        f"position and random generators are equal to the bit after each of {EPOCHS * BATCHES} batches."
    )
    text = f"{table(('', 'times'), sorted(done.items()))}\n\n{verdict}"
    data = {"runs": options.repeats, "unharmed": unharmed, "lost": lost, "done": done}
    publish(options.output, "What does a run lose that is killed and resumed?", text, data)


if __name__ == "__main__":
    main()
