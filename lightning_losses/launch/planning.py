"""Runs that are to be started: each is checked as a whole before the first of them starts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightning_losses.cli import summary
from lightning_losses.cli.assembly import Job, assemble
from lightning_losses.cli.files import RESULT, check_same
from lightning_losses.config import resolve
from lightning_losses.launch import placement


@dataclass(frozen=True)
class Planned:
    """A run whose configuration is right.

    Args:
        job: what to train, the number of nodes and devices included.
        directory: where it keeps its files.
        config: the resolved configuration.
        limits: where its training ends.
        values: what a sweep sets in it, by key.
    """

    job: Job
    directory: Path
    config: dict[str, Any]
    limits: dict[str, Any]
    values: dict[str, str] = field(default_factory=dict)

    def result(self) -> dict[str, Any] | None:
        """What it measured, once it is trained to its end."""
        file = self.directory / RESULT
        result: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        return result if result and result["limits"] == self.limits else None


def place(job: Job, nodes: int | None, devices: int | None) -> Job:
    """The same job on so many nodes and devices."""
    more = placement.overrides(resolve(job.compose()), nodes, devices, job.overrides)
    return replace(job, overrides=[*job.overrides, *more])


def plan(job: Job, *, elsewhere: bool, values: dict[str, str] | None = None) -> Planned:
    """Check everything that can be checked without training; nothing is written.

    Args:
        job: what to train.
        elsewhere: whether it will train on other machines. This one may lack their GPUs, so model, data and trainer
            are then built for its CPU.
        values: what a sweep sets in it.

    Raises:
        ConfigError: the configuration is wrong, or its run directory holds another run.
    """
    config = resolve(job.compose())
    directory = Path(config["run_dir"])
    stand_in = [*job.overrides, *_on_this_cpu(config), f"run_dir={json.dumps(str(directory))}"]
    run = assemble(replace(job, overrides=stand_in) if elsewhere else job)
    check_same(run)
    return Planned(job, directory, config, summary.limits(run), values or {})


def _on_this_cpu(config: dict[str, Any]) -> Sequence[str]:
    # Lightning refuses FSDP on a CPU
    uses_fsdp = "fsdp" in str((config.get("trainer") or {}).get("strategy")).lower()
    return ["trainer.accelerator=cpu", *(["trainer.strategy=ddp"] if uses_fsdp else [])]
