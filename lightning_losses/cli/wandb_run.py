"""One run of Weights & Biases for all the commands that train in a run directory."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_warn

from lightning_losses.cli import wandb_service

if TYPE_CHECKING:
    from lightning_losses.cli.assembly import Run

FILE = "wandb-run.txt"


def name(values: dict[str, Any], directory: Path) -> None:
    """Give the configuration's W&B logger the id that an earlier command had, or a new one.

    The directory's name would not do for an id: it says what is trained, and somebody else in the project, or the same
    person on another machine, may train the same.
    """
    given = (values.get("trainer") or {}).get("logger")
    for logger in given if isinstance(given, list) else [given]:
        if isinstance(logger, dict) and str(logger.get("class_path")).endswith("WandbLogger"):
            arguments = logger.setdefault("init_args", {})
            if not (arguments.get("id") or arguments.get("version")):
                file = directory / FILE
                arguments["id"] = file.read_text(encoding="utf-8").strip() if file.exists() else uuid4().hex[:8]
            return


def start(run: "Run") -> None:
    """Begin to log, and keep the id; without the server, the curves stay here and training goes on."""
    for logger in run.trainer.loggers:
        if isinstance(logger, WandbLogger):
            _connect(logger)
            run.directory.joinpath(FILE).write_text(f"{logger.version}\n", encoding="utf-8")


def finish(run: "Run") -> None:
    """End it: the log is whole then, and another training of this process gets a run of its own."""
    if not any(isinstance(logger, WandbLogger) for logger in run.trainer.loggers):
        return
    import wandb

    try:
        try:
            wandb.finish()
        finally:
            _end()  # `finish` returns before the log is written
    except Exception as error:
        rank_zero_warn(f"W&B's log may lack its last rows, as W&B has failed: {' '.join(str(error).split())}")


def _connect(logger: WandbLogger) -> None:
    from wandb.errors import CommError

    wandb_service.start()
    try:
        _ = logger.experiment
    except CommError as error:
        reason = " ".join(str(error).split())
        rank_zero_warn(
            f"W&B cannot be reached, so the curves stay here, and `wandb sync` can send them later: {reason}"
        )
        _end()  # the process, which still holds the id
        os.environ["WANDB_MODE"] = "offline"
        wandb_service.start()
        _ = logger.experiment


def _end() -> None:
    import wandb

    wandb.teardown()
    wandb_service.stop()
