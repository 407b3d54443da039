"""A training step as a function of the parameters: run again on its batch, as often as one likes, without a trace."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from lightning_losses.callbacks.compatibility import loss_modules
from lightning_losses.callbacks.random_state import get_generators, set_generators
from lightning_losses.callbacks.snapshot import unchanged
from lightning_losses.callbacks.stand_ins import Backwards, NoLossError
from lightning_losses.curvature.checkpointing import keeping_activations
from lightning_losses.curvature.estimate import Parameters
from lightning_losses.curvature.gathering import check_gathered, gathered
from lightning_losses.watch import nothing_later

NORMALIZATION = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


class Replay:
    r"""The loss that `training_step` makes of one batch, as a function of the parameters.

    The model is in evaluation mode: no dropout, BatchNorm with its running statistics, no balancer that learns. With
    ``mode="train"`` normalisation layers use the batch's statistics. It runs eager, outside autocast, so in the
    parameters' own precision, keeps the activations of checkpointed parts, and knows nothing of a GradScaler. Every
    call draws the same random numbers.

    Afterwards everything is as before: modes, buffers, attributes of modules, states of metrics and random generators,
    `.grad`, the trainer's loggers and logged values (`self.log` does nothing meanwhile). Parameters that are not given
    are detached, so no graph leads to the training's own.

    Args:
        model: the LightningModule, in a Trainer. Compiled parts run eager.
        batch: the batch, on the model's device.
        batch_idx: its index.
        mode: of normalisation layers, ``"eval"`` or ``"train"``.
        optimizer: the index of the optimizer whose parameters are meant and, under manual optimization, whose loss.

    Raises:
        NoLossError: in a call, `training_step` has made no loss of this batch.
    """

    def __init__(
        self,
        model: LightningModule,
        batch: Any,
        batch_idx: int,
        *,
        mode: Literal["eval", "train"] = "eval",
        optimizer: int = 0,
    ) -> None:
        self.model = model
        self.mode = mode
        self.optimizer = optimizer
        self.batch = batch
        self.batch_idx = batch_idx

    @property
    def is_sharded(self) -> bool:
        """Whether parameters lie on the ranks in shards (FSDP2); gradients of them cannot be had then."""
        return isinstance(self.model.trainer.strategy, ModelParallelStrategy)

    @property
    def trained_by(self) -> Optimizer:
        """The optimizer."""
        return self.model.trainer.optimizers[self.optimizer]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """What the optimizer changes of the network, detached, by name; it shares memory with the model's parameters.

        Weights that a LossModule learns are left out: they are part of the loss, not of the network.
        """
        trained = {id(p) for group in self.trained_by.param_groups for p in group["params"] if p.requires_grad}
        trained -= {id(p) for criterion in loss_modules(self.model) for p in criterion.parameters()}
        return {name: p.detach() for name, p in self.model.named_parameters() if id(p) in trained}

    def __call__(self, parameters: Parameters) -> Tensor:
        """The loss with these parameters in the place of the model's, a 0-d tensor with a graph to them."""
        model, trainer = self.model, self.model.trainer
        state = {name: buffer.clone() for name, buffer in model.named_buffers()}
        if not self.is_sharded:  # otherwise FSDP2 itself says what the layers see
            state |= {name: p.detach() for name, p in model.named_parameters()} | dict(parameters)
        place = gathered(model, parameters) if self.is_sharded else nullcontext()
        with _untouched(model, trainer), torch.enable_grad(), _precision(trainer), place:
            _set_mode(model, self.mode)
            backwards = None if model.automatic_optimization else Backwards(trainer.optimizers, self.optimizer)
            _stand_in(model, backwards)
            batch = apply_to_collection(self.batch, Tensor, Tensor.clone)
            step = _Step(model)
            returned = functional_call(step, {f"model.{name}": t for name, t in state.items()}, (batch, self.batch_idx))
        loss = _loss(returned) if backwards is None else backwards.loss
        if self.is_sharded:
            check_gathered(loss)
        return loss


class _Step(nn.Module):
    """`training_step` as a forward, which is what functional_call calls."""

    def __init__(self, model: LightningModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any, batch_idx: int) -> Any:
        step = self.model.training_step
        if is_param_in_hook_signature(step, "dataloader_iter", explicit=True):
            raise NoLossError("`training_step` must take a batch to be run again on it, found `dataloader_iter`.")
        with_index = is_param_in_hook_signature(step, "batch_idx", min_args=2)
        return step(batch, batch_idx) if with_index else step(batch)


@contextmanager
def _untouched(model: LightningModule, trainer: Trainer) -> Iterator[None]:
    generators, loggers = get_generators(), trainer.loggers
    with unchanged(model), nothing_later(), torch.compiler.set_stance("force_eager"), keeping_activations():
        trainer.loggers = [DummyLogger() for _ in loggers]
        try:
            yield
        finally:
            trainer.loggers = loggers
            set_generators(generators)


def _precision(trainer: Trainer) -> AbstractContextManager[Any]:
    """What makes new tensors of the parameters' dtype; of mixed precision, nothing."""
    plugin = trainer.precision_plugin
    return nullcontext() if isinstance(plugin, MixedPrecision) else plugin.train_step_context()


def _set_mode(model: LightningModule, mode: str) -> None:
    model.eval()
    for module in model.modules():
        if mode == "train" and isinstance(module, NORMALIZATION):
            module.train()


def _stand_in(model: LightningModule, backwards: Backwards | None) -> None:
    """What the step would do to the Trainer it does to nobody. `unchanged` takes the stand-ins out again."""
    stand_ins: dict[str, Any] = dict.fromkeys(("log", "log_dict", "print"), _ignore)
    if backwards is not None:
        stand_ins |= backwards.stand_ins
    vars(model).update(stand_ins)


def _ignore(*args: Any, **kwargs: Any) -> None:
    return None


def _loss(returned: Any) -> Tensor:
    loss = returned.get("loss") if isinstance(returned, Mapping) else returned
    if not isinstance(loss, Tensor):
        raise NoLossError(
            f"`training_step` must return a loss, or a dict with one under 'loss', found {returned!r:.80}."
        )
    if loss.numel() != 1:
        raise NoLossError(f"`training_step` must return one number, found a tensor of shape {tuple(loss.shape)}.")
    return loss.reshape(())
