"""Train and test an assembled run: resume, stop cleanly, keep the result, say how it compares."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_losses.callbacks.preemption.checkpoint import Preempted, PreemptionCheckpoint
from lightning_losses.checkpoint_io import alternatives, is_whole, previous
from lightning_losses.cli import summary, wandb_run
from lightning_losses.cli.assembly import Job, Run, assemble
from lightning_losses.cli.errors import RunError, describe
from lightning_losses.cli.files import LAST, check_same, read_result, write_config, write_result, write_traceback
from lightning_losses.config import ConfigError
from lightning_losses.dashboards import report


def validate(job: Job) -> int:
    """Build everything, run nothing; the exit code is 0."""
    run = assemble(job)
    check_same(run)
    _say(run, f"OK: {run.title} is valid; fit would write to {run.directory}")
    return 0


def fit(job: Job, check: bool) -> int:
    """Train, or go on training, then test the best checkpoint; the exit code is 1 if `check` misses the reference."""
    run = assemble(job)
    check_same(run)
    _require_reference(run, check)
    result = read_result(run)
    if result and result["limits"] == summary.limits(run):
        _say(run, "This run is already finished; another run_dir or seed_everything would start a new one.")
    else:
        if run.trainer.is_global_zero:
            write_config(run)
            wandb_run.start(run)
        try:
            with _one_line_failures(run):
                result = _train(run)
        except Preempted as stop:
            return int(stop.code or 0)
        finally:
            wandb_run.finish(run)
        if run.trainer.is_global_zero:
            write_result(run, result)
            _write_report(run)
    checkpoint = run.directory / result["checkpoint"] if result["checkpoint"] else None
    return _report(run, result["metrics"], result["minutes"], checkpoint, check)


def test(job: Job, check: bool) -> int:
    """Test the best checkpoint of the finished run or the last one of an unfinished; the exit code is that of fit."""
    run = assemble(job)
    check_same(run, ("recipe.model", "model."))
    _require_reference(run, check)
    result = read_result(run)
    checkpoint = run.directory / ((result and result["checkpoint"]) or LAST)
    if not checkpoint.exists():
        raise ConfigError(f"There is no checkpoint {checkpoint}: train first, with the verb fit.")
    run.trainer.loggers = [DummyLogger() for _ in run.trainer.loggers]  # a test must not overwrite the run's curves
    with _one_line_failures(run):
        metrics = _test(run, checkpoint)
    return _report(run, metrics, None, checkpoint, check)


def _train(run: Run) -> dict[str, Any]:
    start, reason = _resume_point(run.directory / LAST)
    if start:
        _say(run, f"Resuming from {start}{reason}")
    callbacks: list[Callback] = run.trainer.callbacks  # type: ignore[attr-defined]
    if not any(isinstance(callback, PreemptionCheckpoint) for callback in callbacks):
        callbacks.append(PreemptionCheckpoint(run.directory / LAST))
    run.trainer.fit(run.model, datamodule=run.data, ckpt_path=start)
    best = _best_checkpoint(run)
    metrics = _test(run, best)
    return summary.record(run, metrics, os.path.relpath(best, run.directory) if best else None)


def _resume_point(last: Path) -> tuple[Path | None, str]:
    """The checkpoint to go on from, None if there is none yet, and why it is not the last one."""
    if not last.exists():
        kept = previous(last)
        return (kept, f", as {last} is missing") if is_whole(kept) else (None, "")
    is_damaged = last.is_file() and not is_whole(last)  # sharded checkpoints are folders
    others = alternatives(last) if is_damaged else []
    return (others[0], f", as {last} is damaged") if others else (last, "")


def _best_checkpoint(run: Run) -> Path | None:
    savers = [saver for saver in run.trainer.checkpoint_callbacks if isinstance(saver, ModelCheckpoint)]
    savers.sort(key=lambda saver: saver.monitor is None)  # the one that watches a metric before those that only save
    return next((Path(saver.best_model_path) for saver in savers if saver.best_model_path), None)


def _test(run: Run, checkpoint: Path | None) -> dict[str, float]:
    results = run.trainer.test(run.model, datamodule=run.data, ckpt_path=checkpoint, verbose=False)
    return {name: float(value) for result in results for name, value in result.items()}


def _report(run: Run, metrics: dict[str, float], minutes: float | None, checkpoint: Path | None, check: bool) -> int:
    _say(run, summary.text(run, metrics, minutes, checkpoint))
    missed = run.reference is not None and not run.reference.reached(run.reference.measured(metrics))
    return int(check and missed)


def _require_reference(run: Run, check: bool) -> None:
    if check and run.reference is None:
        raise ConfigError("--check needs a reference: add reference.metric=NAME reference.value=VALUE")


@contextmanager
def _one_line_failures(run: Run) -> Iterator[None]:
    try:
        yield
    except Preempted:  # which has said so
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        if not run.trainer.interrupted:
            raise
        raise _stopped(run, signal.SIGTERM if isinstance(error, SIGTERMException) else signal.SIGINT) from error
    except Exception as error:
        hint = f" (traceback in {write_traceback(run, error)})"
        raise RunError(describe(error, hint="") + hint) from error


def _stopped(run: Run, by: signal.Signals) -> RunError:
    last = run.directory / LAST
    again = f"resume from {last}" if last.exists() else "start again, as there is no checkpoint yet"
    return RunError(f"Stopped by {by.name}. Run the same command to {again}.", code=128 + by)


def _write_report(run: Run) -> None:
    """The page about this run; a training is never lost for it."""
    try:
        report.write([run.directory])
    except Exception as error:
        _say(run, f"No report is written: {describe(error, hint='')}")


def _say(run: Run, text: str) -> None:
    if run.trainer.is_global_zero:
        print(text, flush=True)
