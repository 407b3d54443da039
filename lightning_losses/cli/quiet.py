"""Lightning without the lines that tell the user of a recipe nothing; warnings about the training stay."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_losses.resolvers import wandb_offline

LINES = (
    "GPU available",
    "TPU available",
    "HPU available",
    "💡 Tip",
    "Seed set to",
    "Using bfloat16",
    "Using 16bit",
    "Initializing distributed",
    "-" * 20,
    "Adding 1 callbacks from entry point",
    "Restoring states from",
    "Restored all states from",
    "Loaded model weights",
    "Loading `train_dataloader` to estimate",
    "`Trainer.fit` stopped: `max_",
    "Detected KeyboardInterrupt",
    "Trainer already configured with model summary callbacks",
)
LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric")
WARNINGS = (
    ".*does not have many workers",
    ".*Checkpoint directory .* exists and is not empty",  # that is what resuming is
    ".*srun. command is available",
    ".*is not supported by the model summary",
    ".*LeafSpec.* is deprecated",
    ".*callbacks used to create the checkpoint need to be provided.*'PreemptionCheckpoint'\\]",  # `fit` alone has it
)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the lines and the warnings listed above, and what W&B says of a run that stays on this machine."""
    if wandb_offline():
        os.environ.setdefault("WANDB_SILENT", "true")
    handlers = [handler for name in LOGGERS for handler in logging.getLogger(name).handlers]
    with warnings.catch_warnings():
        for pattern in WARNINGS:
            warnings.filterwarnings("ignore", pattern)
        for handler in handlers:
            handler.addFilter(_is_news)
        try:
            yield
        finally:
            for handler in handlers:
                handler.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not any(line in record.getMessage() for line in LINES)
