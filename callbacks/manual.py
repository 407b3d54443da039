"""Manual optimization with what automatic optimization gives: accumulation, clipping, and the loss's steps."""

from contextlib import AbstractContextManager, nullcontext

from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from lightning_losses.callbacks.compatibility import check_accumulation
from lightning_losses.callbacks.loss_module_steps import LossModuleSteps, loss_scale
from lightning_losses.callbacks.stand_ins import OptimizerStandIn
from lightning_losses.checks import check_number
from lightning_losses.module import LossModule


def manual_step(
    model: LightningModule,
    optimizer: LightningOptimizer,
    loss: Tensor,
    batch_idx: int,
    *,
    criterion: LossModule | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
) -> bool:
    r"""Backward of one micro-batch and, with the last of `accumulate` or of the epoch, the optimizer's step.

    The optimizer steps along :math:`\frac1A \sum_a \nabla L^a`, shortened to `clip_norm` if it is longer. Lightning
    refuses `accumulate_grad_batches` and `gradient_clip_val` under manual optimization, and its `clip_gradients` there
    clips what a GradScaler has scaled: at a scale of 65536 a norm of 1 becomes one of 1.5e-5. Here the bound is scaled
    with it. With several optimizers (a GAN), call it once for each; a LossModule ends its step with that of its own
    optimizer, and a step that the scaler skipped because of an overflow leaves no trace in it.

    Call it inside `training_step`::

        def training_step(self, batch, batch_idx):
            loss = self.criterion(self(batch.image), batch.label)
            manual_step(self, self.optimizers(), loss, batch_idx, criterion=self.criterion, accumulate=4, clip_norm=1.0)

    Args:
        model: the LightningModule, with ``automatic_optimization = False``.
        optimizer: one of `model.optimizers()`.
        loss: the loss of the micro-batch, not divided by anything.
        batch_idx: the index of the micro-batch in the epoch.
        criterion: the LossModule that made `loss`, if one did.
        accumulate: A, micro-batches per step; a last, shorter window is divided by A too, as Lightning does.
        clip_norm: the largest norm of the gradient.

    Returns:
        Whether the optimizer has taken a step.

    Raises:
        ValueError: `accumulate` or `clip_norm` out of its range.
        IncompatibleError: the balancer cannot weigh micro-batches.
    """
    accumulate = int(check_number("accumulate", accumulate, at_least=1))
    trainer = model.trainer
    if isinstance(optimizer, OptimizerStandIn):
        optimizer.keep(loss)
        return False
    if criterion is not None:
        check_accumulation(criterion, accumulate, "accumulate")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LossModuleSteps):
                callback.release(criterion)
    if batch_idx % accumulate == 0:
        optimizer.zero_grad()
    last = (batch_idx + 1) % accumulate == 0 or trainer.is_last_batch
    with _without_sync(model) if not last else nullcontext():
        model.manual_backward(loss / accumulate)
    if not last:
        return False
    scale = loss_scale(trainer)
    if clip_norm is not None:
        bound = check_number("clip_norm", clip_norm, above=0) * (scale or 1.0)
        trainer.precision_plugin.clip_gradients(optimizer, bound)  # type: ignore[arg-type]
    optimizer.step()
    overflow = loss_scale(trainer) < scale
    if criterion is not None:
        criterion.discard() if overflow else criterion.step()
    return not overflow


def _without_sync(model: LightningModule) -> AbstractContextManager[None]:
    """Ranks exchange gradients with the last micro-batch only."""
    strategy = model.trainer.strategy
    return strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) else nullcontext()
