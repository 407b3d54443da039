"""Checkpoints every n steps are written only where a run can be resumed exactly."""

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_losses.callbacks.resumable_checkpoint import ResumableCheckpoint
from lightning_losses.checkpoint_io import AtomicCheckpointIO

EPOCHS = {"max_epochs": 2, "limit_val_batches": 1}
STEPS = {"max_epochs": -1, "max_steps": 4, "limit_val_batches": 0}


class Notes(AtomicCheckpointIO):
    """When checkpoints were written: after how many batches of the epoch, and whether that had been validated."""

    def __init__(self, validated):
        self.validated = validated
        self.written = []

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
        self.written.append((checkpoint["epoch"], batches, checkpoint["epoch"] in self.validated))
        super().save_checkpoint(checkpoint, path, storage_options)


class Validated(Callback):
    def __init__(self):
        self.epochs = []

    def on_validation_end(self, trainer, pl_module):
        self.epochs.append(trainer.current_epoch)


def written(saver, folder, checkpoint=None, limits=EPOCHS, **options):
    """The moments of the checkpoints of a training of two epochs with four batches."""
    validated = Validated()
    notes = Notes(validated.epochs)
    trainer = Trainer(
        limit_train_batches=4,
        num_sanity_val_steps=0,
        accelerator="cpu",
        callbacks=[
            validated,
            saver(dirpath=folder, save_top_k=0, save_last=True, enable_version_counter=False, **options),
        ],
        plugins=[notes],
        accumulate_grad_batches=2,
        **limits,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(BoringModel(), ckpt_path=checkpoint)
    return notes.written


def test_one_that_is_due_at_the_end_of_an_epoch_is_written_behind_validation(tmp_path):
    everywhere = [(0, 2, False), (0, 4, True), (1, 2, False), (1, 4, True)]
    assert written(ResumableCheckpoint, tmp_path, every_n_train_steps=1) == everywhere
    assert written(ResumableCheckpoint, tmp_path, every_n_train_steps=2) == [(0, 4, True), (1, 4, True)]


def test_it_is_not_moved_where_lightning_cannot_resume_from_the_end_of_an_epoch(tmp_path):
    batches = [(0, 2), (0, 4), (1, 2), (1, 4)]
    checkpoints = written(ResumableCheckpoint, tmp_path, limits=STEPS, every_n_train_steps=1)
    assert [(epoch, done) for epoch, done, _ in checkpoints] == batches


def test_none_is_written_that_is_not_due(tmp_path):
    assert written(ResumableCheckpoint, tmp_path, every_n_train_steps=3) == [(1, 2, False)]


@pytest.mark.parametrize(
    ("saver", "first"),
    [(ResumableCheckpoint, (0, 4, True)), (ModelCheckpoint, (0, 3, False))],
    ids=["ours", "Lightning's"],
)
def test_a_resumed_run_writes_none_inside_an_optimizer_step(tmp_path, saver, first):
    """Lightning's does: it does not know that its last one was of the same global step."""

    class Stop(saver):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 2:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        written(Stop, tmp_path, every_n_train_steps=1)
    assert written(saver, tmp_path, tmp_path / "last.ckpt", every_n_train_steps=1)[0] == first


def test_other_checkpoints_are_those_of_lightning(tmp_path):
    assert written(ResumableCheckpoint, tmp_path, every_n_epochs=1) == written(
        ModelCheckpoint, tmp_path, every_n_epochs=1
    )
