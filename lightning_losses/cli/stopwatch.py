"""The time that a training takes, over all the runs that resumed it."""

from time import monotonic
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Stopwatch(Callback):
    """Counts the seconds from the start of training, validation included, and keeps them in the checkpoint."""

    def __init__(self) -> None:
        self.before = 0.0
        self.started: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds trained so far."""
        return self.before + (monotonic() - self.started if self.started is not None else 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        self.started = monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop counting."""
        self.before, self.started = self.seconds, None

    def state_dict(self) -> dict[str, Any]:
        """The seconds so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from the seconds of an earlier run."""
        self.before = state_dict["seconds"]
