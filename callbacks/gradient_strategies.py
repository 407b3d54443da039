"""In which Trainers gradients can be measured; others are refused by name, with what to do instead."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from lightning_losses.callbacks.compatibility import IncompatibleError


def check_layer_gradients(trainer: Trainer) -> None:
    """Refuse strategies that hide the gradients of layers.

    Raises:
        IncompatibleError: the message names the strategy.
    """
    strategy = trainer.strategy
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy):
        _refuse(
            "GradientNormMonitor",
            type(strategy).__name__,
            "it flattens the parameters of layers into one",
            "use ModelParallelStrategy with fully_shard (FSDP2)",
        )
    if isinstance(strategy, ModelParallelStrategy) and strategy._tensor_parallel_size not in ("auto", 1):
        _refuse(
            "GradientNormMonitor",
            f"tensor_parallel_size={strategy._tensor_parallel_size}",
            "gradients may be partial sums there",
            "use data_parallel_size alone",
        )


def check_term_gradients(trainer: Trainer, model: LightningModule, shared: str | None) -> None:
    """Refuse what meets further backwards on the graph of a training step.

    Args:
        trainer: the Trainer.
        model: its model.
        shared: the pattern of the parameters to measure at; None for features.

    Raises:
        IncompatibleError: the message names the strategy or the option.
    """
    strategy, name = trainer.strategy, "TermGradientMonitor"
    if isinstance(strategy, DDPStrategy) and strategy._ddp_kwargs.get("static_graph"):
        _refuse(
            name,
            "DDPStrategy(static_graph=True)",
            "DDP would replay a graph that has another backward in it and silently stop synchronising gradients",
            "leave static_graph out",
        )
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy):
        _refuse(
            name,
            type(strategy).__name__,
            "its hooks take every backward for that of the step",
            "use ModelParallelStrategy with fully_shard (FSDP2), and shared=features in the calls",
        )
    if isinstance(strategy, ModelParallelStrategy) and shared is not None:
        _refuse(
            name,
            f"ModelParallelStrategy and shared={shared!r}",
            "autograd cannot measure at parameters that are sharded",
            "pass features in the calls, criterion(..., shared=features)",
        )
    if isinstance(strategy, ModelParallelStrategy) and strategy._tensor_parallel_size not in ("auto", 1):
        _refuse(
            name,
            f"tensor_parallel_size={strategy._tensor_parallel_size}",
            "ranks that hold the same batch would be counted as different ones",
            "use data_parallel_size alone",
        )
    if model._compiler_ctx is not None:
        _refuse(
            name,
            "torch.compile of the whole LightningModule",
            "features and losses come out of one compiled region, in which no gradient at the features exists",
            "compile trunk and heads instead, as in self.trunk = torch.compile(self.trunk)",
        )


def _refuse(who: str, what: str, why: str, instead: str) -> None:
    raise IncompatibleError(f"{who} does not work with {what}: {why}. Instead, {instead}.")
