"""A ModelCheckpoint that writes only where a run can be resumed exactly."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class ResumableCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` whose checkpoints every n steps lose nothing when a run is resumed from them.

    `ModelCheckpoint(every_n_train_steps=n)` also writes in two places from which Lightning does not resume exactly:

    - after a micro-batch that does not end its optimizer step, namely the first one of a resumed run. Gradients
      accumulated so far are in no checkpoint. Here such a checkpoint is left out;
    - after the last batch of an epoch. Lightning then takes the validation of that epoch for done, and its best value
      is never seen. Here such a checkpoint is written at the end of the epoch, behind validation.

    It takes the arguments of `ModelCheckpoint`; the steps matter with ``every_n_train_steps`` and
    ``train_time_interval``.

    >>> ResumableCheckpoint(every_n_train_steps=100, save_top_k=0, save_last=True).save_last
    True
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if a checkpoint is due and the batch ends an optimizer step, but no epoch."""
        if is_resumed_behind_batch(trainer):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write if a checkpoint is due, or was at the last batch."""
        super().on_train_epoch_end(trainer, pl_module)
        super().on_train_batch_end(trainer, pl_module, None, None, trainer.fit_loop.batch_idx)


def is_resumed_behind_batch(trainer: Trainer) -> bool:
    """Whether a checkpoint belongs behind the current batch: one that ends an optimizer step, but no epoch."""
    loop = trainer.fit_loop.epoch_loop
    # From the end of an epoch, Lightning resumes with a batch too many if `max_steps` is set and nothing validates.
    has_exact_end = trainer.max_steps == -1 or trainer.enable_validation
    return not (loop._should_accumulate() or (loop.batch_progress.is_last_batch and has_exact_end))
