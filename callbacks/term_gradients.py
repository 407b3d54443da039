"""How strongly every term of a loss pulls, and which terms pull against each other."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch._functorch.config
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_losses.balancers.place import Shared
from lightning_losses.callbacks.compatibility import IncompatibleError
from lightning_losses.callbacks.every_n_steps import check_every_n_steps, is_due, is_last_batch, step_of
from lightning_losses.callbacks.gradient_strategies import check_term_gradients
from lightning_losses.callbacks.layer_groups import LayerGroups
from lightning_losses.callbacks.listening import Listening, criteria_of
from lightning_losses.callbacks.step_norms import loss_scale
from lightning_losses.callbacks.term_gram import (
    are_parameters,
    cosine_figures,
    gram,
    norm_figures,
    place_of,
    range_scale,
)
from lightning_losses.checks import check_number, nearest
from lightning_losses.distributed import sum_over_ranks, world_size
from lightning_losses.module import LossModule
from lightning_losses.numerics import widest


class TermGradientMonitor(Callback):
    r"""Logs norms of, and angles between, the gradients of a LossModule's terms at a place that the terms share.

    With :math:`g_i = \nabla L_i` the gradient of the raw loss, not weighed, not divided by the number of micro-batches
    and not scaled, it logs every `every_n_steps` steps

    - ``gradients/term_norm/<term>``, :math:`\lVert g_i \rVert_2`; infinite or NaN if the gradient is, 0 for a term that
      is absent from the step or does not reach the place;
    - ``gradients/cosine/<a>-<b>``, :math:`\frac{\langle g_a, g_b \rangle}{\lVert g_a \rVert \lVert g_b \rVert}` of
      every pair whose norms are positive and finite;
    - ``gradients/conflict``, the share of these cosines that are negative.

    **At features**, `shared=None`: where the calls of the LossModule say, ``criterion(..., shared=features)`` or
    branches (should they or the LossModule name parameters, what is said of those below holds). The features of
    micro-batches and ranks are different coordinates, so with N ranks and A
    micro-batches :math:`\langle g_i, g_j \rangle = \frac{1}{(NA)^2} \sum_{r,a} \langle g_i^{ra}, g_j^{ra} \rangle`
    is exactly that of one process with the whole batch.

    **At parameters**, ``shared="net.trunk.*"``: at all that match, layer group by layer group, so that the gradients of
    one group only are held at a time, K times its parameters, and never K times the model. Averaging gradients over
    ranks would take messages as large; averaged are the inner products, :math:`\frac{1}{NA} \sum_{r,a}`. They are those
    of micro-batches as one rank sees them: norms are larger than the whole batch's, by the noise, and cosines smaller.

    In a model of several LossModules a term is called by the path of its LossModule too, ``critic.criterion/real``. Of
    one that is called several times before a backward, the last call is measured; under manual optimization the
    inner products of all backwards of a batch add.

    Cost of a measured micro-batch: K backward passes from the losses to the place, on the graph of the training. At
    features that is a small part of a step. At parameters each layer group costs K passes down to it: many groups
    (`depth`) are slow, few take memory. Other steps cost nothing. Nothing is written into `.grad`, and no hook on a
    parameter, on the losses or on the features is called; hooks on tensors and modules in between are.

    Args:
        every_n_steps: measure at every n-th step; None for every step that the Trainer logs. Lightning hands to the
            loggers what is measured at steps that it logs, so take a multiple of ``log_every_n_steps``.
        shared: shell-style pattern of the paths of parameters to measure at; None for the place of the calls.
        depth: of how many modules of its path a layer group is named.
        per_layer: at parameters, whether to log ``gradients/term_norm/<group>/<term>`` too: which term pulls on which
            layer.
        prefix: what the logged names begin with.

    Raises:
        ValueError: a number out of its range; `per_layer` without `shared`; a pattern that matches nothing.
        IncompatibleError: a strategy or compilation under which there are no such gradients; a model without a
            LossModule.

    >>> TermGradientMonitor(every_n_steps=50, shared="net.trunk.*", per_layer=True).prefix
    'gradients/'
    """

    def __init__(
        self,
        *,
        every_n_steps: int | None = None,
        shared: str | None = None,
        depth: int = 2,
        per_layer: bool = False,
        prefix: str = "gradients/",
    ) -> None:
        self.every_n_steps = check_every_n_steps(every_n_steps)
        self.shared = shared
        self.depth = int(check_number("depth", depth, at_least=1))
        self.per_layer = per_layer
        self.prefix = prefix
        if per_layer and shared is None:
            raise ValueError("`per_layer` needs `shared`, a pattern of parameters: features have no layers.")
        self._criteria: dict[str, LossModule] = {}
        self._listening = Listening({}, self._hear)
        self._heard: dict[str, tuple[Mapping[str, Tensor], Shared | None]] = {}
        self._grams: dict[str, Tensor] = {}

    @property
    def state_key(self) -> str:
        """Two monitors in one Trainer differ in their prefix."""
        return self._generate_state_key(prefix=self.prefix)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work, and keep compiled heads differentiable more than once.

        Raises:
            IncompatibleError: the message says what to do instead.
        """
        if stage == "fit":
            check_term_gradients(trainer, pl_module, self.shared)
            torch._functorch.config.donated_buffer = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the LossModules and the place."""
        self._criteria = criteria_of(pl_module)
        if not self._criteria:
            raise IncompatibleError("TermGradientMonitor needs a LossModule in the model, found none.")
        self._listening = Listening(self._criteria, self._hear)
        chosen = [] if self.shared is None else _matching(pl_module, self.shared)
        self._layers = LayerGroups(pl_module, self.depth).split(chosen)
        self._grams = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Listen in steps that are measured."""
        if is_due(trainer, self.every_n_steps):
            self._listening.start()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Measure, while the graph is there."""
        for path, (values, shared) in self._heard.items():
            parts = world_size() * (trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1)
            found = self._measure(trainer, path, values, shared, parts)
            if found is not None:
                self._grams[path] = self._grams[path] + found if path in self._grams else found
        self._heard = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the step if it is due and complete."""
        self._stop()
        if is_due(trainer, self.every_n_steps) and is_last_batch(trainer):
            figures = self._figures(self._over_ranks(pl_module.device))
            if not figures:
                rank_zero_warn(
                    f"TermGradientMonitor has measured nothing at step {step_of(trainer)}: no training call of a "
                    "LossModule said where. Pass shared=features in the call, or a pattern of parameters as in "
                    "TermGradientMonitor(shared='net.trunk.*'). Calls of a compiled LossModule are not heard."
                )
            logged = {f"{self.prefix}{name}": value.float() for name, value in figures.items()}
            pl_module.log_dict(logged, on_epoch=False)
            self._grams = {}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave nothing in the LossModules."""
        self._stop()
        self._grams = {}

    def _stop(self) -> None:
        self._listening.stop()
        self._heard = {}

    def _hear(self, path: str, values: Mapping[str, Tensor], shared: Shared | None) -> None:
        self._heard[path] = (values, shared)

    def _measure(
        self, trainer: Trainer, path: str, values: Mapping[str, Tensor], shared: Shared | None, parts: int
    ) -> Tensor | None:
        """What one micro-batch of one rank adds to the inner products, [G, K, K]; None where nothing says the place."""
        names = list(self._criteria[path].terms)
        losses = [values.get(name) for name in names]
        if self.shared is not None:
            groups = [[group for _ in names] for group in self._layers.values()]
        else:
            groups = [place_of(shared, names)]
        some = groups[0][0]
        if not some:
            return None
        divisor = parts if are_parameters(some) else parts**2
        scale = range_scale(loss_scale(trainer), some)
        return torch.stack([gram(losses, places, scale) for places in groups]) / divisor

    def _over_ranks(self, device: torch.device) -> dict[str, Tensor]:
        """The inner products [G, K, K] of every LossModule that any rank has measured; one collective, one transfer."""
        vectors = []
        for path, criterion in self._criteria.items():
            size = max(1, len(self._layers)) * len(criterion.terms) ** 2
            found = self._grams.get(path)
            none = widest(torch.zeros(size + 1, device=device))
            vectors.append(none if found is None else torch.cat([none[:1] + 1, found.reshape(-1)]))
        vector = sum_over_ranks(torch.cat(vectors)).cpu()
        parts = zip(self._criteria.items(), torch.split(vector, [len(its) for its in vectors]), strict=True)
        terms = {path: (len(criterion.terms), its) for (path, criterion), its in parts}
        return {path: its[1:].reshape(-1, k, k) for path, (k, its) in terms.items() if its[0] > 0}

    def _figures(self, grams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is logged, by name."""
        figures: dict[str, Tensor] = {}
        for path, products in grams.items():
            names = list(self._criteria[path].terms)
            figures |= norm_figures(products.sum(0), path, names) | cosine_figures(products.sum(0), path, names)
            for group, its in zip(self._layers, products, strict=False) if self.per_layer else ():
                figures |= norm_figures(its, f"{group}/{path}".rstrip("/"), names)
        if angles := [value for name, value in figures.items() if name.startswith("cosine/")]:
            figures["conflict"] = (torch.stack(angles) < 0).double().mean()
        return figures


def _matching(model: LightningModule, pattern: str) -> list[Tensor]:
    paths = {name.replace("_orig_mod.", ""): p for name, p in model.named_parameters() if p.requires_grad}
    found: list[Tensor] = [parameter for path, parameter in paths.items() if fnmatchcase(path, pattern)]
    if not found:
        raise ValueError(
            f"`shared` must match parameters that require a gradient, found {pattern!r}. {nearest(pattern, paths)}"
        )
    return found
