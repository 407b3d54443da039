"""Under which strategies a model can be run with other parameters than its own."""

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from lightning_losses.callbacks.compatibility import IncompatibleError


def check_strategy(trainer: Trainer, who: str) -> None:
    """Refuse strategies that shard parameters.

    Args:
        trainer: the Trainer.
        who: the name of the callback, for the message.

    Raises:
        IncompatibleError: the message names the strategy and what to do instead.
    """
    if isinstance(trainer.strategy, FSDPStrategy | DeepSpeedStrategy | ModelParallelStrategy):
        raise IncompatibleError(
            f"{who} does not work with {type(trainer.strategy).__name__}: it runs the model with detached parameters, "
            "and no rank has them whole. Instead, use DDPStrategy, or measure a checkpoint in one process."
        )
