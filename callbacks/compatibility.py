"""Which LossModule works in which Trainer; what does not is refused by name, with what to do instead."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
)

from lightning_losses.balancers.gramian import Gramian
from lightning_losses.module import LossModule


class IncompatibleError(ValueError):
    """A LossModule that cannot work in this Trainer."""


def loss_modules(model: LightningModule) -> list[LossModule]:
    """The LossModules in a model, nested ones included."""
    return [module for module in model.modules() if isinstance(module, LossModule)]


def check_compatible(trainer: Trainer, model: LightningModule) -> None:
    """Refuse every combination that cannot keep the law of parity.

    Raises:
        IncompatibleError: the message names the balancer, what it meets, and what to do instead.
    """
    for criterion in loss_modules(model):
        check_accumulation(criterion, _micro_batches(trainer), "accumulate_grad_batches")
        if criterion.balancer.needs_probe:
            _check_probe(trainer, model, criterion)


def check_accumulation(criterion: LossModule, micro_batches: int, parameter: str) -> None:
    """Refuse weights that would have to be known before the last micro-batch is.

    Raises:
        IncompatibleError: the message names the balancer and `parameter`, which asks for the accumulation.
    """
    balancer = criterion.balancer
    if isinstance(balancer, Gramian) and not balancer.lagged and micro_batches > 1:
        _refuse(
            criterion,
            f"{parameter}={micro_batches}",
            "it weighs a batch by its own gradients, which are complete only with the last micro-batch",
            "take Gramian(..., lagged=True), which uses those of the step before",
        )


def _check_probe(trainer: Trainer, model: LightningModule, criterion: LossModule) -> None:
    """What meets the measuring of gradients in the forward of a training step."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and strategy._ddp_kwargs.get("static_graph"):
        _refuse(
            criterion,
            "DDPStrategy(static_graph=True)",
            "DDP would replay a graph that has another backward in it and silently stop synchronising gradients",
            "leave static_graph out",
        )
    if isinstance(strategy, FSDPStrategy | DeepSpeedStrategy):
        _refuse(
            criterion,
            type(strategy).__name__,
            "its hooks take every backward for that of the step",
            "use ModelParallelStrategy with fully_shard (FSDP2), and shared=features",
        )
    if isinstance(strategy, ModelParallelStrategy):
        if criterion.shared is not None:
            _refuse(
                criterion,
                f"ModelParallelStrategy and shared={criterion.shared!r}",
                "autograd cannot measure at parameters that are sharded",
                "pass features in the call, criterion(..., shared=features)",
            )
        if strategy._tensor_parallel_size not in ("auto", 1):
            _refuse(
                criterion,
                f"tensor_parallel_size={strategy._tensor_parallel_size}",
                "ranks that hold the same batch would be counted as different ones",
                "use data_parallel_size alone",
            )
    if model._compiler_ctx is not None:
        _refuse(
            criterion,
            "torch.compile of the whole LightningModule",
            "features and losses come out of one compiled region, in which no gradient at the features exists",
            "compile trunk and heads instead, as in self.trunk = torch.compile(self.trunk), so that the features lie "
            "between them",
        )


def _micro_batches(trainer: Trainer) -> int:
    """The most that ever make an optimizer step."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    schedules = [c.scheduling for c in callbacks if isinstance(c, GradientAccumulationScheduler)]
    return max([trainer.accumulate_grad_batches, *(n for schedule in schedules for n in schedule.values())])


def _refuse(criterion: LossModule, what: str, why: str, instead: str) -> None:
    balancer = f"{type(criterion.balancer).__name__}({criterion.balancer.extra_repr()})"
    raise IncompatibleError(f"{balancer} does not work with {what}: {why}. Instead, {instead}.")
