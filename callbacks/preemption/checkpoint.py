"""A run that is asked to stop saves itself at the end of the step, and SLURM queues it again."""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from lightning.pytorch.utilities import rank_zero_warn

from lightning_losses.callbacks.preemption import slurm
from lightning_losses.callbacks.preemption.agreement import Agreement
from lightning_losses.callbacks.preemption.signals import Signals
from lightning_losses.callbacks.resumable_checkpoint import is_resumed_behind_batch


class Preempted(SystemExit):
    """A signal has asked the run to stop before its end.

    The exit code of rank 0 is 128 + n, as shells have it. That of the other ranks is 0, since most launchers kill
    everyone when one fails, and rank 0 has to queue the job first.

    Args:
        by: the signal.
        saved: where to.
        rank: of this process.
    """

    def __init__(self, by: signal.Signals, saved: str, rank: int) -> None:
        super().__init__(0 if rank else 128 + by)
        self.by = by
        self.saved = saved


class PreemptionCheckpoint(Checkpoint):
    """Saves a run that is asked to stop, and lets SLURM queue it again.

    A signal is only remembered. Behind the next batch from which Lightning resumes exactly, all ranks know of it,
    whichever of them it has reached; they write a checkpoint by the Trainer's checkpoint IO and stop. Where validation
    is due or runs, it is finished first. So a signal has to come earlier than a step and validation take:
    ``#SBATCH --signal=USR1@300``.

    Under SLURM, rank 0 then puts the job back into the queue: after any signal but SIGTERM, and after SIGTERM if the
    job is preempted. One that is cancelled or out of time is left alone. A job that is queued again runs its script
    again, which calls ``trainer.fit(model, ckpt_path="last")``.

    The run does not end with 0, which SLURM would take for completed. Lightning's own handlers are not used: after
    SIGTERM they leave without a checkpoint, and with 0; they wait for other ranks inside of the handler, perhaps for
    ever; after SIGUSR1 they write in the middle of a step, to a file ``hpc_ckpt_N.ckpt`` that wins over every later
    one. To resume from such a file by accident is refused.

    A signal that comes while the process still starts, before `fit` has set everything up, ends it as ever, unless it
    is blocked until then, as in the scripts of ``lightning-losses launch``. The death of a node reaches no process: the
    run goes on from the last checkpoint before.

    Workers of a `DataLoader` that are not forked (spawn, forkserver) die of the signal. The run then ends with their
    error in the middle of the step. It is queued again all the same, and resumes from the checkpoint before.

    Args:
        file: what to write; by default ``last.ckpt`` among the checkpoints of the first `ModelCheckpoint`, where
            ``ckpt_path="last"`` finds it, or in `default_root_dir`.
        signals: names of the signals; if several have come, the first of them counts.
        requeue: whether to put a job of SLURM back into the queue.

    Raises:
        ValueError: a signal does not exist, or cannot be caught.

    >>> from lightning_losses.callbacks import RandomState
    >>> from lightning_losses.checkpoint_io import AtomicCheckpointIO
    >>> trainer = Trainer(
    ...     logger=False,
    ...     callbacks=[ModelCheckpoint("checkpoints", save_last=True), RandomState(), PreemptionCheckpoint()],
    ...     plugins=[AtomicCheckpointIO()],
    ... )
    """

    def __init__(
        self,
        file: str | Path | None = None,
        *,
        signals: Sequence[str] = ("SIGUSR1", "SIGTERM"),
        requeue: bool = True,
    ) -> None:
        self.file = None if file is None else Path(file)
        self.signals = Signals(signals)
        self.requeue = requeue
        self._agreement = Agreement()
        self._lightnings: _SignalConnector | None = None
        self._wandb: list[str] = []
        self._wandb_before: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """The ids of the runs of W&B that have the curves."""
        return {"wandb": self._wandb}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember those of the stopped run until training starts."""
        self._wandb_before = state_dict["wandb"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Catch the signals: one may come before the first step."""
        if stage not in ("fit", "test"):
            return
        if stage == "fit":
            self.signals.forget()
            self._agreement = Agreement()
        others = [other for other in trainer.callbacks if other is not self]  # type: ignore[attr-defined]
        trainer.callbacks = [*others, self]  # type: ignore[attr-defined]  # what they do at a step's end is to be saved
        self._lightnings, trainer._signal_connector = trainer._signal_connector, _NoHandlers(trainer)
        self._wandb = [str(logger.version) for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        self.signals.catch()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of Lightning's handler.

        Raises:
            ValueError: it is one.
        """
        if Path(trainer.ckpt_path or "").name.startswith("hpc_ckpt_"):
            raise ValueError(
                f"`default_root_dir` must hold no checkpoint of Lightning's SLURM handler, found {trainer.ckpt_path}."
                " Lightning prefers it to newer ones. Delete it; or rename it, and resume from it by its new name."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so if the curves will not be continued."""
        if trainer.is_global_zero and self._wandb_before and self._wandb_before != self._wandb:
            before = ", ".join(self._wandb_before)
            rank_zero_warn(f"The curves so far are in the W&B run {before}, which WandbLogger(id=...) would continue.")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Ask the other ranks; the answer comes while the batch is computed."""
        self._agreement.ask(self.signals.received)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, unless validation is due or the optimizer step goes on."""
        asked = self._agreement.answer()
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None
        if (
            any(asked)
            and is_resumed_behind_batch(trainer)
            and not trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)
        ):
            self._stop(trainer, asked, _log_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and stop, behind validation."""
        self._agreement.ask(self.signals.received)
        asked = self._agreement.answer()
        if any(asked) and not is_resumed_behind_batch(trainer):
            self._stop(trainer, asked, _log_epoch)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop; there is nothing to save, and ranks may have different numbers of batches to agree at."""
        if any(self.signals.received):
            raise self._preempted(trainer, self.signals.received, "in the test, which is to be run again")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the job back into the queue if it was asked to stop, and say what happened."""
        if isinstance(exception, Preempted):
            stop = exception
        elif any(self.signals.received):
            stop = self._preempted(trainer, self.signals.received, f"by {type(exception).__name__}, with nothing saved")
        else:
            self._release(trainer)
            return
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            where = f"at step {trainer.global_step}, {stop.saved}"
            print(f"Stopped by {stop.by.name} {where}. {self._queue(stop.by)}", file=sys.stderr, flush=True)
        if slurm.job_id() is None:  # else SLURM sends SIGTERM to what has not ended yet
            self._release(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put back the handlers that were there."""
        self._agreement.close()
        self._release(trainer)

    def _stop(self, trainer: Trainer, asked: Sequence[bool], log: Callable[[Trainer], None]) -> None:
        file = self.file or _default_file(trainer)
        try:
            trainer.save_checkpoint(file)
            saved = f"saved in {file}"
        except OSError as error:
            trainer.strategy.barrier("saved")  # the other ranks, which do not write, wait in `save_checkpoint`
            saved = f"with {file} as it was, because it cannot be written: {error.strerror or error}"
        try:
            log(trainer)  # which Lightning does behind all callbacks
        finally:
            raise self._preempted(trainer, asked, saved)

    def _preempted(self, trainer: Trainer, flags: Sequence[bool], saved: str) -> Preempted:
        return Preempted(self.signals.caught[list(flags).index(True)], saved, trainer.global_rank)

    def _queue(self, by: signal.Signals) -> str:
        """Put the job back into the queue, if there is one and it is wanted; what came of it."""
        job = slurm.job_id()
        if job is None:
            return "Run the same command to resume."
        try:
            if not self.requeue or (by == signal.SIGTERM and not slurm.is_preempted(job)):
                return f"Job {job} is not queued again."
            slurm.requeue(job)
        except OSError as error:
            return f"Job {job} cannot be queued again: {error}."
        return f"Job {job} is queued again."

    def _release(self, trainer: Trainer) -> None:
        self.signals.release()
        if self._lightnings is not None:
            trainer._signal_connector, self._lightnings = self._lightnings, None


class _NoHandlers(_SignalConnector):
    """Takes the place of Lightning's handlers."""

    def register_signal_handlers(self) -> None:
        """Nothing: ours are there already."""


def _log_step(trainer: Trainer) -> None:
    trainer._logger_connector.update_train_step_metrics()


def _log_epoch(trainer: Trainer) -> None:
    trainer.fit_loop.epoch_loop._batches_that_stepped -= 1  # Lightning, too, logs an epoch at its last step
    trainer._logger_connector.update_train_epoch_metrics()


def _default_file(trainer: Trainer) -> Path:
    for saver in trainer.checkpoint_callbacks:
        if isinstance(saver, ModelCheckpoint) and saver.dirpath:
            return Path(saver.dirpath, f"{saver.CHECKPOINT_NAME_LAST}{saver.FILE_EXTENSION}")
    return Path(trainer.default_root_dir, "last.ckpt")
