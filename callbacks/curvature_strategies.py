"""Under which strategies a model can be run once more, and with which parameters."""

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from lightning_losses.callbacks.compatibility import IncompatibleError


def check_strategy(trainer: Trainer, who: str) -> None:
    """Refuse strategies under which no rank has a layer's parameters whole.

    Args:
        trainer: the Trainer.
        who: the name of the callback, for the message.

    Raises:
        IncompatibleError: the message names the strategy and what to do instead.
    """
    strategy = trainer.strategy
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy):
        raise IncompatibleError(
            f"{who} does not work with {type(strategy).__name__}: it runs the model once more, and there every "
            "forward is taken for the training's. Instead, use DDPStrategy, or measure a checkpoint in one process."
        )
    if isinstance(strategy, ModelParallelStrategy) and strategy._tensor_parallel_size not in ("auto", 1):
        raise IncompatibleError(
            f"{who} does not work with tensor_parallel_size={strategy._tensor_parallel_size}: no rank has a layer's "
            "parameters whole. Instead, use data_parallel_size alone, or measure a checkpoint in one process."
        )


def check_whole_parameters(trainer: Trainer, what: str, instead: str) -> None:
    """Refuse strategies under which the model cannot be run with other parameters than its own.

    Args:
        trainer: the Trainer.
        what: the callback and the option that need it, for the message.
        instead: what to do instead, for the message.

    Raises:
        IncompatibleError: the message names the strategy and what to do instead.
    """
    if isinstance(trainer.strategy, ModelParallelStrategy):
        raise IncompatibleError(
            f"{what} does not work with ModelParallelStrategy: it needs the parameters whole, which lie on the ranks "
            f"in shards. Instead, {instead}, or use DDPStrategy."
        )
