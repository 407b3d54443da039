"""A run resumed from any of its checkpoints draws what the run that wrote it drew."""

import random
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader, Dataset

from lightning_losses.callbacks.random_state import RandomState, get_generators, set_generators
from lightning_losses.recipes.sampling import ResumableData

EPOCHS, BATCHES = 3, 5
EVERYWHERE = ("batch end", "validation end", "epoch end")


class Numbers(Dataset):
    def __len__(self):
        return 2 * BATCHES

    def __getitem__(self, key):
        return torch.tensor(float(sum(key) if isinstance(key, tuple) else key))


class LazyLoader(DataLoader):
    """Begins at its first `next`, with a draw from the global generator, and can be resumed."""

    done = skip = 0

    def __iter__(self):
        skip, self.skip, self.done = self.skip, 0, 0
        for batch in super().__iter__():
            self.done += 1
            if self.done > skip:
                yield batch

    def state_dict(self):
        return {"done": self.done}

    def load_state_dict(self, state):
        self.skip = state["done"]


class Data(ResumableData):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def train_dataloader(self):
        if self.kind == "resumable":
            return self.resumable_loader(Numbers(), batch_size=2, seed=0)
        if self.kind == "lazy":
            return LazyLoader(Numbers(), batch_size=2)
        return DataLoader(Numbers(), batch_size=2, shuffle=True, num_workers=int(self.kind == "worker"))

    def val_dataloader(self):
        return DataLoader(Numbers(), batch_size=10)


class Noisy(LightningModule):
    """Draws from every generator in training, and in validation."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 8)
        self.dropout = torch.nn.Dropout(0.5)

    def training_step(self, batch, _):
        noise = random.random() + np.random.rand() + np.random.randn()
        return (self.dropout(self.layer(batch[:, None])).sum(1) - noise).square().mean()

    def validation_step(self, batch, _):
        self.log("drawn", random.random() + np.random.randn() + torch.rand(()))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Recorder(Callback):
    """Notes the loss of each batch, and saves a checkpoint wherever one may be saved."""

    def __init__(self, folder=None):
        self.folder = folder
        self.losses = {}
        self.checkpoints = {}  # and how many batches came before each

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.losses[trainer.current_epoch, batch_idx] = outputs["loss"].item()
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            self.save(trainer, "batch end")

    def on_validation_end(self, trainer, model):
        self.save(trainer, "validation end")

    def on_train_epoch_end(self, trainer, model):
        self.save(trainer, "epoch end")

    def save(self, trainer, moment):
        if self.folder:
            path = self.folder / f"after {len(self.losses)} batches at {moment}.ckpt"
            self.checkpoints[path] = len(self.losses)
            trainer.save_checkpoint(path)


def fit(kind, callbacks, checkpoint=None, **options):
    seed_everything(0, verbose=False)
    trainer = Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"max_epochs": EPOCHS, **options},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Noisy(), Data(kind), ckpt_path=checkpoint)
    return trainer


def failures(kind, folder, moments, keep=True, **options) -> list[str]:
    """The checkpoints of `moments` from which a run is resumed that differs from the whole one."""
    kept = [RandomState()] if keep else []
    whole = Recorder(folder)
    weights = fit(kind, [*kept, whole], **options).model.state_dict()
    different = []
    for path, batches in whole.checkpoints.items():
        if not path.stem.endswith(moments):
            continue
        resumed = Recorder()
        model = fit(kind, [RandomState(), resumed] if keep else [resumed], path, **options).model
        same = all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        if not same or list(resumed.losses.items()) != list(whole.losses.items())[batches:]:
            different.append(path.stem)
    return different


VALIDATION = {
    "no validation": {"limit_val_batches": 0},
    "validation": {},
    "validation inside the epoch": {"val_check_interval": 2},
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("validation", VALIDATION)
def test_a_resumable_loader_resumes_from_everywhere(tmp_path, validation, accumulate):
    options = {**VALIDATION[validation], "accumulate_grad_batches": accumulate}
    assert failures("resumable", tmp_path, EVERYWHERE, **options) == []


@pytest.mark.parametrize("validation", VALIDATION)
def test_a_run_limited_by_steps_resumes_from_every_step(tmp_path, validation):
    limits = {"max_epochs": -1, "max_steps": EPOCHS * BATCHES}
    assert failures("resumable", tmp_path, "batch end", **limits, **VALIDATION[validation]) == []


@pytest.mark.parametrize("validation", VALIDATION)
@pytest.mark.parametrize("kind", ["shuffled", "worker"])
def test_a_plain_loader_resumes_from_the_end_of_an_epoch(tmp_path, kind, validation):
    assert failures(kind, tmp_path, "epoch end", **VALIDATION[validation]) == []


@pytest.mark.parametrize("validation", VALIDATION)
def test_a_loader_that_draws_when_it_starts_resumes_from_inside_an_epoch(tmp_path, validation):
    failed = failures("lazy", tmp_path, "batch end", **VALIDATION[validation])
    assert [name for name in failed if int(name.split()[1]) % BATCHES] == []


def test_without_the_callback_a_resumed_run_differs(tmp_path):
    assert "after 3 batches at batch end" in failures("resumable", tmp_path, "batch end", keep=False)


def test_validation_does_not_change_what_training_draws(tmp_path):
    with_validation, without = Recorder(), Recorder()
    fit("resumable", [RandomState(), with_validation])
    fit("resumable", [RandomState(), without], limit_val_batches=0)
    assert with_validation.losses == without.losses


def test_a_checkpoint_that_was_only_tested_leaves_the_next_run_alone(tmp_path):
    """Lightning hands the callbacks their states for a test, too."""
    callback, whole, again = RandomState(), Recorder(tmp_path), Recorder()
    fit("resumable", [callback, whole])
    callback.load_state_dict(callback.state_dict())
    fit("resumable", [callback, again])
    assert again.losses == whole.losses


def test_the_state_is_plain_enough_for_a_weights_only_load(tmp_path):
    random.gauss(), np.random.randn()  # each keeps half of a pair in its state
    torch.save(RandomState().state_dict(), tmp_path / "state.pt")

    def draw():
        return [random.gauss(0, 1), random.random(), np.random.randn(), np.random.rand(), torch.rand(()).item()]

    expected = draw()
    set_generators(torch.load(tmp_path / "state.pt", weights_only=True)["ranks"][0])
    assert draw() == expected


@pytest.mark.parametrize("initialized", [True, False])
def test_the_generator_of_a_cuda_device_is_kept_where_the_process_uses_one(monkeypatch, initialized):
    device = torch.Generator()  # stands for that of the device
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: initialized)
    monkeypatch.setattr(torch.cuda, "get_rng_state", device.get_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", device.set_state)
    state, first = get_generators(), torch.rand(3, generator=device)
    set_generators(state)
    assert torch.equal(torch.rand(3, generator=device), first) == initialized


@pytest.mark.parametrize(
    ("saved", "now", "rest"), [(2, 1, "."), (1, 3, ", and rank 1, 2 begins with its seed.")], ids=["fewer", "more"]
)
def test_another_number_of_processes_is_warned_about(saved, now, rest):
    torch.manual_seed(0)
    state, expected = get_generators(), torch.rand(2)
    callback = RandomState()
    callback.load_state_dict({"ranks": [state] * saved})
    begins = f"RandomState: the checkpoint holds the random generators of {saved} processes, and this run has {now}. "
    with pytest.warns(UserWarning, match=re.escape(f"{begins}It will differ from the stopped run{rest}")):
        callback.on_train_start(SimpleNamespace(world_size=now, global_rank=0), None)
    assert torch.equal(torch.rand(2), expected)


def gather(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    seed_everything(rank, verbose=False)
    state = RandomState().state_dict()
    drawn = random.random(), np.random.rand(), torch.rand(()).item()
    torch.save((state, drawn), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def test_every_rank_keeps_its_own(tmp_path):
    mp.spawn(gather, args=(str(tmp_path),), nprocs=2)
    (state, first), (same, second) = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first != second
    for rank, expected in enumerate([first, second]):
        for held in (state, same):
            callback = RandomState()
            callback.load_state_dict(held)
            callback.on_train_start(SimpleNamespace(world_size=2, global_rank=rank), None)
            assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
