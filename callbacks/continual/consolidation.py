"""What is done at the end of a task so that a network keeps what it has learnt."""

from abc import ABC, abstractmethod

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy

from lightning_losses.callbacks.compatibility import IncompatibleError, loss_modules
from lightning_losses.callbacks.curvature_strategies import check_whole_parameters
from lightning_losses.losses import EWC
from lightning_losses.module import LossModule


class Consolidation(Callback, ABC):
    """A way to keep what a task has taught, given to `ContinualLearning`, which passes on the hooks of the Trainer.

    Args:
        module: the path of the module, in the LightningModule, that is consolidated: the one that the penalty's term is
            called with. "" for the LightningModule itself.
    """

    def __init__(self, module: str = "") -> None:
        self.module = module

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse parameters in shards now, and not when the first task has ended."""
        check_whole_parameters(trainer, type(self).__name__, "learn without consolidation")

    @abstractmethod
    def finish(self, trainer: Trainer, pl_module: LightningModule, task: int) -> None:
        """A task has ended; called on all ranks, with the parameters that it has led to."""


class Penalized(Consolidation):
    """One whose importances go to the EWC term of the model's LossModule.

    Under FSDP2 they lie in shards, and the strategy must be `FullyShardedStrategy`.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a model without such a term, and checkpoints that would lose anchors in shards."""
        if isinstance(trainer.strategy, ModelParallelStrategy):
            _check_checkpoints(trainer.strategy, type(self).__name__)
        penalty(pl_module)


def penalty(model: LightningModule) -> tuple[LossModule, str, EWC]:
    """The EWC term of a model: the LossModule that holds it, its name there, and the loss.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [
        (criterion, name, term.loss)
        for criterion in loss_modules(model)
        for name, term in criterion.terms.items()
        if isinstance(term.loss, EWC)
    ]
    if len(found) != 1:
        names = [name for _, name, _ in found]
        raise ValueError(
            f"The model must have one LossModule with one EWC term, found {names or 'none'}. "
            'Add "ewc": Term(EWC(), weight=..., inputs=["model"], balanced=False), or take consolidation=None.'
        )
    return found[0]


def strength(criterion: LossModule, name: str) -> float:
    """The weight that a term had in the last step."""
    return float(criterion.report.weights[name])


def _check_checkpoints(strategy: ModelParallelStrategy, who: str) -> None:
    from lightning_losses.sharded_strategy import FullyShardedStrategy

    if not isinstance(strategy, FullyShardedStrategy):
        raise IncompatibleError(
            f"{who} does not work with {type(strategy).__name__}: what its checkpoints hold of tasks that have ended "
            "cannot be read again. Instead, use lightning_losses.sharded_strategy.FullyShardedStrategy, or DDPStrategy."
        )
