"""What a LossModule cannot know alone inside a Trainer: where an optimizer step ends, and whether it was taken."""

import warnings
from typing import Any

import torch
import torch._functorch.config
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.optim import Optimizer

from lightning_losses.callbacks.compatibility import IncompatibleError, check_compatible, loss_modules
from lightning_losses.module import LossModule


class LossModuleSteps(Callback):
    """Ends the steps of the model's LossModules where the optimizer's end.

    It adds itself to every Trainer (entry point ``lightning.pytorch.callbacks_factory``) and does nothing in one whose
    model has no `LossModule`. With it

    - all micro-batches of an accumulated step are measured together;
    - a step that a GradScaler skips because of an overflow leaves no trace in a balancer;
    - a path given as ``LossModule(shared="net.neck")`` is looked up in the model;
    - what a LossModule learns is sharded under FSDP2, which averages no gradient that it does not know of;
    - what cannot work is refused in `setup`, by name, with what to do instead: see docs/compatibility.md.

    It has no state: a LossModule keeps its own. LossModules with ``auto_step=False`` are left to you, as are those
    that `manual_step` steps.
    """

    def __init__(self) -> None:
        self._found: list[LossModule] = []
        self._taken: list[LossModule] = []
        self._stepped: list[LossModule] = []
        self._global_step = 0
        self._scale = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work, before anything is started; shard what the losses learn."""
        if stage == "fit" and self._is_first(trainer):
            check_compatible(trainer, pl_module)
            for criterion in loss_modules(pl_module):
                _shard(trainer, criterion)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the steps; modules and strategy are complete by now."""
        if not self._is_first(trainer):
            return
        check_compatible(trainer, pl_module)  # again: `configure_model` may have made LossModules
        self._found = loss_modules(pl_module)
        for criterion in self._found:
            _check_sharded(trainer, criterion)
            criterion.scaler = _scaler(trainer)
            if criterion.balancer.needs_probe:  # compiled heads are differentiated twice: by the probe, by the step
                torch._functorch.config.donated_buffer = False
            if criterion.shared is not None and not criterion.is_attached:
                criterion.attach(pl_module)
        self._taken = [criterion for criterion in self._found if criterion.auto_step]
        self._stepped = list(self._taken)
        for criterion in self._taken:
            criterion.auto_step = False
        _warn_of_optimizers(trainer.optimizers, self._found)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the counters stand, after a checkpoint has been restored."""
        self._global_step = trainer.global_step
        self._scale = loss_scale(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End a step if the optimizer did."""
        if not self._stepped or trainer.global_step == self._global_step:
            return
        scale = loss_scale(trainer)
        overflow = scale < self._scale
        # A training_step that returned None had no backward; with accumulation, micro-batches before it may have had.
        skipped = pl_module.automatic_optimization and not outputs and trainer.accumulate_grad_batches == 1
        self._global_step, self._scale = trainer.global_step, scale
        for criterion in self._stepped:
            if criterion.pending:
                criterion.discard() if overflow or skipped else criterion.step()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the LossModules back."""
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the LossModules back, and forget the step that was not finished."""
        for criterion in self._taken:
            criterion.discard()
        self._give_back()

    def release(self, criterion: LossModule) -> None:
        """Leave the steps of one LossModule to the caller."""
        self._stepped = [other for other in self._stepped if other is not criterion]

    def _give_back(self) -> None:
        for criterion in self._found:
            criterion.scaler = None
        for criterion in self._taken:
            criterion.auto_step = True
        self._found, self._taken, self._stepped = [], [], []

    def _is_first(self, trainer: Trainer) -> bool:
        """Whether no other of its kind, one that the user added by hand, does the work."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        return next(callback for callback in callbacks if isinstance(callback, LossModuleSteps)) is self


def add_to_every_trainer() -> list[Callback]:
    """What Lightning calls in every Trainer of the environment."""
    return [LossModuleSteps()]


def _shard(trainer: Trainer, criterion: LossModule) -> None:
    """Let FSDP2 average the gradients of what a loss learns: it knows of nothing that it has not sharded.

    Not the LossModule as a whole: the features that it is given would become others on the way in.
    """
    if not isinstance(trainer.strategy, ModelParallelStrategy):
        return
    from torch.distributed.fsdp import fully_shard

    for part in (criterion.balancer, *criterion.terms.children()):
        if any(not _is_sharded(parameter) for parameter in part.parameters()):
            fully_shard(part, mesh=trainer.strategy.device_mesh["data_parallel"])


def _check_sharded(trainer: Trainer, criterion: LossModule) -> None:
    """One that `configure_model` made came too late for `setup`."""
    left = [name for name, parameter in criterion.named_parameters() if not _is_sharded(parameter)]
    if left and isinstance(trainer.strategy, ModelParallelStrategy):
        raise IncompatibleError(
            f"Parameter {left[0]!r} of a LossModule made in `configure_model` is not sharded, so its gradient would "
            "not be averaged over ranks. Make the LossModule in __init__, or shard its balancer as the model: "
            "fully_shard(self.criterion.balancer, mesh=...)."
        )


def _is_sharded(parameter: nn.Parameter) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(parameter, DTensor)


def _scaler(trainer: Trainer) -> Any:
    plugin = trainer.precision_plugin
    return plugin.scaler if isinstance(plugin, MixedPrecision) else None


def loss_scale(trainer: Trainer) -> float:
    """The GradScaler's scale, 0 without one; it falls when a step is skipped. Reading it waits for the device."""
    scaler = _scaler(trainer)
    return 0.0 if scaler is None else float(scaler.get_scale())


def _warn_of_optimizers(optimizers: list[Optimizer], found: list[LossModule]) -> None:
    """Learned weights must be in an optimizer, and weight decay would pull them to their priors."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    decay = {id(p): group.get("weight_decay", 0.0) for group in groups for p in group["params"]}
    for criterion in found:
        for name, parameter in criterion.named_parameters():
            if not parameter.requires_grad:
                continue
            if id(parameter) not in decay:
                what = "is in no optimizer, so it will not be learned"
            elif decay[id(parameter)]:
                what = f"has weight_decay={decay[id(parameter)]:g}, which pulls it to 0"
            else:
                continue
            warnings.warn(f"Parameter {name!r} of the LossModule {what}. Use parameter_groups(model, ...).")
