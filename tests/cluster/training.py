"""A training of seconds that may be interrupted anywhere; run again, it resumes.

`python training.py FOLDER` keeps its checkpoints in FOLDER, and at the end `final.pt`. Every process appends a line for
each batch to FOLDER/progress-RANK.txt, so that an interruption can be timed.
"""

import argparse
import resource
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_losses import LossModule, losses
from lightning_losses.balancers import GradNorm
from lightning_losses.callbacks import PreemptionCheckpoint, RandomState, ResumableCheckpoint
from lightning_losses.checkpoint_io import AtomicCheckpointIO
from lightning_losses.recipes.sampling import ResumableData, ResumableLoader

EPOCHS, BATCHES, SIZE = 3, 11, 16  # of a rank; an odd number of batches: the last step of an epoch has one


class Digits(Dataset):
    """Some of scikit-learn's handwritten digits."""

    def __init__(self, start: int, count: int):
        pixels, digits = (torch.from_numpy(values[start : start + count]) for values in load_digits(return_X_y=True))
        self.pixels, self.digits = pixels.float() / 16, digits

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, key):
        index = key[1] if isinstance(key, tuple) else key  # training asks by epoch, too
        return self.pixels[index], self.digits[index]


class Data(ResumableData):
    """Training batches in an order that is resumed, and validation batches."""

    def __init__(self, workers: int):
        super().__init__()
        self.workers = workers

    def train_dataloader(self) -> ResumableLoader:
        digits = Digits(0, BATCHES * SIZE * self.trainer.world_size)
        return self.resumable_loader(digits, batch_size=SIZE, seed=0, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Digits(1500, 100), batch_size=50)


class Network(LightningModule):
    """Dropout draws, two losses are balanced, validation draws too."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(32, 10)
        self.criterion = LossModule({"ce": losses.CrossEntropy(), "focal": losses.SoftmaxFocal()}, balancer=GradNorm())

    def training_step(self, batch, _):
        features = self.trunk(batch[0])
        loss = self.criterion(input=self.head(features), target=batch[1], shared=features)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, _):
        scores = self.head(self.trunk(batch[0] + 0.1 * torch.randn_like(batch[0])))
        self.log("val/loss", nn.functional.cross_entropy(scores, batch[1]), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Pace(Callback):
    """Takes its time for each batch, writes down where it is, and lets the disk be full from some batch on."""

    def __init__(self, folder: Path, seconds: float, full_from: int | None):
        self.folder, self.seconds, self.full_from = folder, seconds, full_from

    def note(self, trainer: Trainer, text: str) -> None:
        with (self.folder / f"progress-{trainer.global_rank}.txt").open("a") as stream:
            stream.write(f"{text}\n")
        time.sleep(self.seconds)

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        number = trainer.current_epoch * BATCHES + batch_idx
        if number == self.full_from:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        self.note(trainer, f"batch {number}")

    def on_validation_batch_start(self, trainer, model, batch, batch_idx, dataloader_idx=0):
        self.note(trainer, f"validation {trainer.current_epoch}")


class SlowWriter(AtomicCheckpointIO):
    """Writes down when it begins to write, and takes its time."""

    def __init__(self, folder: Path, seconds: float):
        self.folder, self.seconds = folder, seconds

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        with (self.folder / "progress-0.txt").open("a") as stream:
            stream.write(f"write {checkpoint['global_step']}\n")
        time.sleep(self.seconds)
        super().save_checkpoint(checkpoint, path, storage_options)


def fit(
    folder: Path,
    pace: float = 0.0,
    nodes: int = 1,
    devices: int = 1,
    workers: int = 0,
    ours: bool = True,
    full_from: int | None = None,
) -> None:
    """Train to the end, from the last checkpoint if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    seed_everything(0, verbose=False)
    last = {"dirpath": folder, "save_last": True, "enable_version_counter": False}
    savers = [ModelCheckpoint(**last, filename="best", monitor="val/loss")]
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if nodes * devices > 1 else "auto",
        max_epochs=EPOCHS,
        accumulate_grad_batches=2,
        callbacks=[
            Pace(folder, pace, full_from),
            RandomState(),
            *savers,
            *(
                [ResumableCheckpoint(**last, every_n_train_steps=4, save_top_k=0), PreemptionCheckpoint()]
                if ours
                else []
            ),
        ],
        plugins=[SlowWriter(folder, pace)],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    network = Network()
    trainer.fit(network, Data(workers), ckpt_path="last")
    if trainer.is_global_zero:
        state = {
            "weights": network.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "step": trainer.global_step,
        }
        torch.save(state, folder / "final.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pace", type=float, default=0.0)
    for number in ("nodes", "devices", "workers"):
        parser.add_argument(f"--{number}", type=int, default=0 if number == "workers" else 1)
    parser.add_argument("--lightning", dest="ours", action="store_false", help="with Lightning's own handlers")
    fit(**vars(parser.parse_args()))
