"""What W&B needs to know of a run so that it can be compared with others in a table."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from lightning_losses.dashboards.panels import SECTIONS
from lightning_losses.dashboards.wandb_log import STEP


class WandbSummaries(Callback):
    """Tells W&B which value of a series stands for the run, and how the run was configured.

    Of the metric that a ModelCheckpoint monitors that is the best value, of the series of the dashboard what their
    panel says, and always the last one too. Metrics are named one by one: of two patterns that match a metric, one of
    which is Lightning's own for everything, W&B takes either. With other loggers it does nothing.

    Args:
        config: kept with the run, so that runs can be grouped by it; nothing in it may be secret.

    >>> WandbSummaries({"model": {"lr": 0.1}}).config
    {'model': {'lr': 0.1}}
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.config = dict(config or {})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell it before anything is logged."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(self.config, allow_val_change=True)
                for name, mode in summaries(trainer).items():
                    logger.experiment.define_metric(name, step_metric=STEP, step_sync=True, summary=f"{mode},last")


def summaries(trainer: Trainer) -> dict[str, str]:
    """``"min"`` or ``"max"`` of the metrics of which one of them says more than the last value."""
    panels = [panel for section in SECTIONS for panel in section.panels if panel.summary != "last"]
    of_panels = {key: panel.summary for panel in panels for key in panel.keys if "*" not in key and "[" not in key}
    savers = [saver for saver in trainer.checkpoint_callbacks if isinstance(saver, ModelCheckpoint)]
    return of_panels | {saver.monitor: saver.mode for saver in savers if saver.monitor}
