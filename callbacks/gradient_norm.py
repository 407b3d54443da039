"""True gradient norms by layer, how far a step moves the weights, and the gradient noise scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer

from lightning_losses.callbacks.every_n_steps import check_every_n_steps, is_due, is_last_batch, step_of
from lightning_losses.callbacks.gradient_health import GradientHealth
from lightning_losses.callbacks.gradient_strategies import check_layer_gradients
from lightning_losses.callbacks.layer_groups import LayerGroups
from lightning_losses.callbacks.noise_scale import NoiseScale
from lightning_losses.callbacks.small_batch import SmallBatch, samples_in, small_batch_ranks, why_not
from lightning_losses.callbacks.step_norms import StepNorms, gradient_scale, has_gradient, loss_scale, parameters_of
from lightning_losses.checks import check_number
from lightning_losses.distributed import world_size
from lightning_losses.numerics import safe_divide


class GradientNormMonitor(Callback):
    r"""Logs, by layer, the norm of the gradient that the optimizer is about to use.

    It is that of the loss itself: without a GradScaler's scale (fused optimizers included, which divide by it only
    inside their step), after accumulation, averaged over ranks, whole where FSDP2 shards it, and before clipping.
    Every `every_n_steps` steps it logs, with g a group of layers:

    - ``gradients/norm/<g>`` and ``gradients/norm/total``, :math:`\lVert \nabla L \rVert_2`;
    - ``gradients/norm_clipped/<g>``, after clipping, where the Trainer or the model clips;
    - ``gradients/update_ratio/<g>``, :math:`\lVert \Delta w \rVert_2 / \lVert w \rVert_2` of the step: about 1e-3 is
      usual, much less learns nothing, much more forgets;
    - ``gradients/nonfinite``, how many groups hold an infinity or a NaN. Such a step enters no running mean;
    - ``gradients/noise_scale``, see `NoiseScale`, in samples: the batch size at which a step is half gradient, half
      noise. A smaller batch wastes steps, a larger one samples. It needs gradients at two batch sizes, so automatic
      optimization with accumulation or under DDP; elsewhere the monitor says once why there is none.

    With several optimizers each has its own series, ``gradients/<index>/norm/<g>``. Under manual optimization the
    norms are those that ``optimizer.step()`` is given, so after any clipping of your own. The gradients of single terms
    of a LossModule are those of `TermGradientMonitor`.

    It warns of the first gradient that is not finite, naming the layers (under a GradScaler, which skips such steps,
    only when the scale has fallen below 1), and once a layer of a gradient that grows past `exploding` times its
    running mean, and of one that vanishes: whose root mean square falls below `vanishing` times that of the largest.

    Cost of a measured step: one pass over the gradients, one more where they are clipped, and for the ratio a copy of
    the weights between the optimizer's step and the end of the batch; one collective of a short vector and one transfer
    to the host. Other steps cost nothing. There are no hooks on tensors and no backward of its own, so `wandb.watch` is
    not disturbed; without accumulation, DDP shows a rank's own gradient only while it comes in, and post-accumulation
    hooks watch it during the backward of a measured step.

    Args:
        every_n_steps: measure at every n-th step; None for every step that the Trainer logs. Lightning hands to the
            loggers what is measured at steps that it logs, so take a multiple of ``log_every_n_steps``.
        depth: of how many modules of its path a layer's group is named.
        groups: instead of `depth`, names of groups and shell-style patterns of parameter paths; the first match holds.
        update_ratio: whether to measure the ratio, at the price of the copy.
        noise_scale: whether to measure the noise scale.
        vanishing: the threshold above, 0 for no warning.
        exploding: the threshold above, at least 1.
        batch_size: samples in a micro-batch of one rank; None to look at the first tensor of the batch.
        prefix: what the logged names begin with; two monitors in one Trainer need different ones.

    Raises:
        ValueError: a number out of its range; a pattern that matches nothing.
        IncompatibleError: in `setup`, a strategy that hides the layers' gradients.

    >>> GradientNormMonitor(every_n_steps=100, groups={"trunk": "net.trunk.*", "heads": "net.head*"}).prefix
    'gradients/'
    """

    def __init__(
        self,
        *,
        every_n_steps: int | None = None,
        depth: int = 2,
        groups: dict[str, str] | None = None,
        update_ratio: bool = True,
        noise_scale: bool = True,
        vanishing: float = 1e-6,
        exploding: float = 100.0,
        batch_size: int | None = None,
        prefix: str = "gradients/",
    ) -> None:
        self.every_n_steps = check_every_n_steps(every_n_steps)
        self.depth = int(check_number("depth", depth, at_least=1))
        self.groups = groups
        self.update_ratio = update_ratio
        self.noise_scale = noise_scale
        self.vanishing = check_number("vanishing", vanishing, at_least=0, below=1)
        self.exploding = check_number("exploding", exploding, at_least=1)
        self.batch_size = None if batch_size is None else int(check_number("batch_size", batch_size, at_least=1))
        self.prefix = prefix
        self.noise = NoiseScale()
        self._health: dict[int, GradientHealth] = {}
        self._watched: SmallBatch | None = None
        self._forget()

    def _forget(self) -> None:
        """What belongs to one step."""
        if self._watched is not None:
            self._watched.remove()
        self._watched = None
        self._small: Tensor | None = None
        self._samples: int | None = None
        self._due = False
        self._steps: dict[int, StepNorms] = {}

    @property
    def state_key(self) -> str:
        """One state a prefix."""
        return self._generate_state_key(prefix=self.prefix)

    def state_dict(self) -> dict[str, Any]:
        """The running means."""
        return {"noise": asdict(self.noise), "log_means": {i: health.log_means for i, health in self._health.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.noise = NoiseScale(**state_dict["noise"])
        for index, log_means in state_dict["log_means"].items():
            self._health_of(index).log_means = dict(log_means)

    @property
    def recommended_batch_size(self) -> int | None:
        """The noise scale as a number of samples in an optimizer step, over all ranks; None where it is not known."""
        value = self.noise.value
        return None if value is None else max(1, round(value))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse strategies that hide the gradients of layers.

        Raises:
            IncompatibleError: the message names the strategy and what to do instead.
        """
        if stage == "fit":
            check_layer_gradients(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the layers, and say where there will be no noise scale."""
        self._forget()
        self._layers = LayerGroups(pl_module, self.depth, self.groups)
        if self.noise_scale and (why := why_not(trainer, pl_module)):
            rank_zero_info(f"GradientNormMonitor logs no noise scale: {why}.")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note whether the step is measured, and how large its batches are."""
        self._due = is_due(trainer, self.every_n_steps)
        is_first = batch_idx % trainer.accumulate_grad_batches == 0
        if self._due and is_first and self.noise_scale and why_not(trainer, pl_module) is None:
            self._samples = self.batch_size or samples_in(batch)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Watch the gradient of the first micro-batch come in."""
        if self._samples is not None and self._small is None:
            self._watched = SmallBatch(parameters_of(trainer.optimizers[0]), trainer.accumulate_grad_batches)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep its norm."""
        if self._watched is not None:
            self._small = self._watched.close(loss_scale(trainer))
            self._watched = None

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure what the optimizer is given, before clipping."""
        groups = self._layers.split(parameters_of(optimizer)) if self._due else {}
        if has_gradient(groups):  # it has none where training_step left the batch out
            scale = gradient_scale(trainer, optimizer)
            self._steps[trainer.optimizers.index(optimizer)] = StepNorms(groups, scale, self.update_ratio)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Complete the measurement with what the step did, and log it."""
        for index, step in self._steps.items():
            step.look_again(_clips(trainer, pl_module), self._small)
            squares, names = step.on_host(), list(step.groups)
            norms = squares["norm"].sqrt()
            tolerant = bool(not norms.isfinite().all() and loss_scale(trainer) > 1)
            self._health_of(index).look(names, norms, step.sizes, step_of(trainer), tolerant)
            if "small" in squares and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
                self._add_noise(trainer, squares)
            prefix = self.prefix if len(trainer.optimizers) == 1 else f"{self.prefix}{index}/"
            values = self._values(names, squares)
            pl_module.log_dict({f"{prefix}{name}": value.float() for name, value in values.items()}, on_epoch=False)
        if is_last_batch(trainer):
            self._forget()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what batch size the gradients asked for."""
        if self.recommended_batch_size is not None:
            rank_zero_info(
                f"Gradient noise scale: {self.recommended_batch_size} samples in an optimizer step, over all ranks."
            )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take away what watches a backward that did not end."""
        self._forget()

    def _add_noise(self, trainer: Trainer, squares: Mapping[str, Tensor]) -> None:
        small, large = float(squares["small"]), float(squares["norm"].sum())
        if self._samples is not None and math.isfinite(small + large):
            batch = self._samples * small_batch_ranks(trainer)
            whole = self._samples * world_size() * trainer.accumulate_grad_batches
            self.noise.add(small, large, batch, whole)

    def _values(self, names: Sequence[str], squares: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is logged, by name."""
        values = {"nonfinite": (~squares["norm"].isfinite()).sum()}
        for kind in ("norm", "norm_clipped"):
            if kind in squares:
                values |= {f"{kind}/{name}": value for name, value in zip(names, squares[kind].sqrt(), strict=True)}
                values[f"{kind}/total"] = squares[kind].sum().sqrt()
        if "update" in squares and not values["nonfinite"]:
            ratios = safe_divide(squares["update"], squares["weight"]).sqrt()
            values |= {f"update_ratio/{name}": ratio for name, ratio in zip(names, ratios, strict=True)}
        if "small" in squares and self.noise.value is not None:
            values["noise_scale"] = torch.tensor(self.noise.value)
        return values

    def _health_of(self, index: int) -> GradientHealth:
        return self._health.setdefault(index, GradientHealth(self.vanishing, self.exploding))


def _clips(trainer: Trainer, model: LightningModule) -> bool:
    """Under manual optimization clipping is the model's own affair, and gradients may be gone after the step."""
    clips = bool(trainer.gradient_clip_val) or is_overridden("configure_gradient_clipping", model)
    return clips and model.automatic_optimization
