"""GradNorm: every task's gradient as large as its rate of training asks for."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_losses.balancers.base import Balanced, Balancer, Present, weighted_sum
from lightning_losses.balancers.probe import Probe
from lightning_losses.balancers.window import Measurement, Window
from lightning_losses.checks import check_number, nearest
from lightning_losses.watch import ValueWatch

BETAS = (0.9, 0.999)  # Adam's, as in the paper
EPSILON = 1e-8
STUCK_AFTER = 100  # updates in a row at a limit


def gradnorm_gradient(
    weights: Tensor, norms: Tensor, rates: Tensor, priors: Tensor, alpha: float, valid: Tensor | None = None
) -> Tensor:
    r"""The gradient of GradNorm's objective with respect to the weights, in closed form.

    .. math::
        L_\text{grad} = \sum_i |w_i n_i - \tau_i|, \qquad
        \tau_i = p_i\, r_i^\alpha\, \frac1T \sum_j w_j n_j \ \text{(held constant)}, \qquad
        \frac{\partial L_\text{grad}}{\partial w_i} = \operatorname{sign}(w_i n_i - \tau_i)\, n_i

    Args:
        weights: :math:`w_i > 0`, [T].
        norms: :math:`n_i = \lVert \nabla L_i \rVert_2` of the unweighted losses at the shared place, [T].
        rates: :math:`r_i`, inverse training rates of mean 1; above 1 is a slow task, [T].
        priors: :math:`p_i`, the importances of mean 1 that the user asks for, [T].
        alpha: how strongly slow tasks are pulled along; 0 asks for equal gradients.
        valid: the tasks that take part in the mean, [T] of bool; None for all.

    >>> import torch
    >>> one = torch.ones(2)
    >>> gradnorm_gradient(weights=one, norms=torch.tensor([1.0, 3.0]), rates=one, priors=one, alpha=1.0)
    tensor([-1.,  3.])
    """
    target = _mean(weights * norms, valid) * priors * rates**alpha
    return torch.sign(weights * norms - target) * norms


class GradNorm(Balancer):
    r"""Gradient normalisation (Chen et al. 2018, `arXiv:1711.02257 <https://arxiv.org/abs/1711.02257>`_).

    With :math:`n_i` the norm of the gradient of :math:`L_i` at the shared place, :math:`G_i = w_i n_i` and
    :math:`r_i = \frac{L_i / L_i(0)}{\frac1T\sum_j L_j / L_j(0)}` (above 1 for a task that trains slowly), the weights
    descend :math:`\sum_i |G_i - \bar G\, p_i r_i^\alpha|`, the target held constant. They rest at
    :math:`w_i \propto p_i r_i^\alpha / n_i`: multiplying a loss by a constant changes nothing.

    The weights are :math:`w_i = e^{v_i} > 0` and sum to T after every update, which is an exponentiated gradient step:
    Adam turns :math:`\partial L_\text{grad} / \partial w_i` into the step of :math:`v_i`. A training step is taken
    with the weights that stood before it (Algorithm 1), its statistics change the next one. The gradient is the closed
    form of `gradnorm_gradient`, so no second-order graph is built and the model receives exactly the gradient of the
    weighted sum. For :math:`\alpha` other than 0 and 1 the mean of :math:`r_i^\alpha` is not 1, so not all targets
    can be met at once, and the smaller weights rest somewhat below theirs.

    Where we depart, and why: the paper's :math:`w` may turn negative (and did, in its own setting), ours cannot; the
    gradient is divided by the mean of :math:`n`, which Adam cancels, so that losses of any scale meet the same
    epsilon; the user's weights enter as importances :math:`p_i` (mean 1) of the target, because as factors of the
    losses the method would undo them; :math:`L_i(0)` may be averaged over the first steps or given, because one batch
    is noisy. Other packages take :math:`r^{-\alpha}`, let the objective's gradient flow into the model, or average
    norms over ranks.

    Args:
        alpha: the restoring force; 0 for equal gradients, at most 3 (the paper saw instability beyond).
        lr: Adam's learning rate on :math:`\log w`; the weights chatter about their rest by about this much.
        update_every: measure and update at every n-th optimizer step only.
        initial_steps: over how many first steps :math:`L_i(0)` is averaged.
        initial_losses: :math:`L_i(0)` by name where theory knows it, for instance log C of a cross-entropy.
        min_weight: lower clamp of a weight, before the last normalisation.
        max_weight: upper clamp of a weight; None for T, which no weight can pass.

    Raises:
        ValueError: a parameter out of its range; a loss that is negative; a term that does not reach `shared`.

    >>> import torch
    >>> from lightning_losses import LossModule, losses
    >>> criterion = LossModule({"a": losses.MSE(), "b": losses.MSE()}, balancer=GradNorm(alpha=1.5))
    >>> features = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> criterion(3 * features, torch.zeros(2), shared=features)
    tensor(45., grad_fn=<DotBackward0>)
    """

    needs_probe: ClassVar[bool] = True
    takes_ratios: ClassVar[bool] = True

    log_weights: Tensor
    initial_sum: Tensor
    initial_count: Tensor
    adam_mean: Tensor
    adam_square: Tensor
    adam_count: Tensor
    stuck_for: Tensor
    idle_for: Tensor

    def __init__(
        self,
        alpha: float = 1.5,
        lr: float = 0.025,
        update_every: int = 1,
        initial_steps: int = 1,
        initial_losses: Mapping[str, float] | None = None,
        min_weight: float = 1e-3,
        max_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.alpha = check_number("alpha", alpha, at_least=0, at_most=3)
        self.lr = check_number("lr", lr, above=0)
        self.update_every = int(check_number("update_every", update_every, at_least=1))
        self.initial_steps = int(check_number("initial_steps", initial_steps, at_least=1))
        self.initial_losses = {
            n: check_number(f"initial_losses[{n}]", v, above=0) for n, v in (initial_losses or {}).items()
        }
        self.min_weight = check_number("min_weight", min_weight, above=0, below=1)
        self.max_weight = max_weight if max_weight is None else check_number("max_weight", max_weight, above=1)
        self.priors = torch.empty(0)
        self._watch = ValueWatch()
        self._warned: set[str] = set()

    def bind(self, names: Sequence[str], priors: Sequence[float]) -> None:
        """Start at weights proportional to the priors, with sum T."""
        super().bind(names, priors)
        for name in self.initial_losses.keys() - set(names):
            raise ValueError(f"`initial_losses` must name balanced terms, found {name!r}. {nearest(name, names)}")
        self.window = Window(len(names))
        start = torch.tensor(priors, dtype=torch.float32).clamp(min=self.min_weight)
        self._buffer("log_weights", (start * len(names) / start.sum()).log())
        known = [self.initial_losses.get(name, 0.0) for name in names]
        self._buffer("initial_sum", [value * self.initial_steps for value in known])
        self._buffer("initial_count", [self.initial_steps * (value > 0) for value in known])
        for name in ("adam_mean", "adam_square", "adam_count", "stuck_for"):
            self._buffer(name, torch.zeros(len(names)))
        self._buffer("idle_for", torch.zeros(1))

    def forward(self, losses: Tensor, priors: Tensor, present: Present, probe: Probe | None) -> Balanced:
        """The weights as they stand; in training the batch is measured for the next ones."""
        if probe is not None:
            self.priors = priors
            self.window.add(losses, present, probe if self.steps % self.update_every == 0 else None)
        return weighted_sum(losses, self.log_weights.exp().to(losses.dtype)[present])

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights by what the step's global batch has shown."""
        measurement = self.window.close()
        if measurement is None:
            return
        super().step()
        known = measurement.seen & (measurement.losses > 0) & measurement.losses.isfinite()
        collecting = known & (self.initial_count < self.initial_steps)
        self.initial_sum.add_(torch.where(collecting, measurement.losses, 0.0))
        self.initial_count.add_(collecting)
        if measurement.products is not None:
            self._update(measurement, measurement.products.sqrt())
        if self.steps % STUCK_AFTER == 0:  # seldom, since looking may cost a sync
            self._watch.look(torch.cat([self.stuck_for, self.idle_for]), self._warn_of_stuck)

    def _update(self, measurement: Measurement, norms: Tensor) -> None:
        # A task without a gradient in this batch is left out, not averaged as 0; after an overflow all are.
        valid = measurement.seen & (norms > 0) & (measurement.losses > 0) & norms.isfinite().all()
        progress = measurement.losses * self.initial_count / self.initial_sum
        rates = progress / _mean(progress, valid)
        priors = self.priors.to(norms) / _mean(self.priors.to(norms), valid)
        weights = self.log_weights.exp()
        gradient = gradnorm_gradient(weights, norms, rates, priors, self.alpha, valid)
        self._adam(gradient / _mean(norms, valid), valid)
        self._normalize(valid)
        self._notice_stuck(valid)

    def _adam(self, gradient: Tensor, valid: Tensor) -> None:
        """One step of Adam on the logarithms of the weights of the valid tasks; torch.where, since an if would sync."""
        mean = BETAS[0] * self.adam_mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * self.adam_square + (1 - BETAS[1]) * gradient.square()
        count = self.adam_count + 1
        size = (square / (1 - BETAS[1] ** count)).sqrt() + EPSILON
        moved = self.log_weights - self.lr * mean / (1 - BETAS[0] ** count) / size
        for buffer, new in (
            (self.log_weights, moved), (self.adam_mean, mean), (self.adam_square, square), (self.adam_count, count),
        ):  # fmt: skip
            buffer.copy_(torch.where(valid, new, buffer))

    def _normalize(self, valid: Tensor) -> None:
        """Sum T, clamp, sum T again: the sum is exact, the clamp up to the second normalisation."""
        weights = torch.softmax(self.log_weights, 0) * len(self.names)
        weights = weights.clamp(self.min_weight, self.max_weight)
        normalized = (weights * len(self.names) / weights.sum()).log()
        self.log_weights.copy_(torch.where(valid.any(), normalized, self.log_weights))

    def _notice_stuck(self, valid: Tensor) -> None:
        slack = 1e-2
        stuck = self.log_weights < math.log(self.min_weight) + slack
        if self.max_weight is not None:
            stuck = stuck | (self.log_weights > math.log(self.max_weight) - slack)
        self.stuck_for.copy_(torch.where(valid, (self.stuck_for + 1) * stuck, self.stuck_for))
        self.idle_for.copy_(torch.where(valid.any(), 0.0, self.idle_for + 1))

    def _warn_of_stuck(self, counts: list[float]) -> None:
        *stuck_for, idle_for = counts
        if idle_for >= STUCK_AFTER and "" not in self._warned:
            self._warned.add("")
            warnings.warn(
                f"GradNorm has measured no usable gradient for {idle_for:.0f} updates, so the weights stand still: all "
                "are 0 or, in float16, overflow. Measure at features in float32, or scale the losses down.",
                stacklevel=2,
            )
        for name, updates in zip(self.names, stuck_for, strict=True):
            if updates >= STUCK_AFTER and name not in self._warned:
                self._warned.add(name)
                warnings.warn(
                    f"The weight of term {name!r} has been at its limit for {updates:.0f} updates: GradNorm cannot "
                    "balance it. Check the term's gradient at the shared place, widen min_weight/max_weight or lower "
                    "alpha.",
                    stacklevel=2,
                )

    def discard(self) -> None:
        """Forget the losses and gradients since the last step."""
        self.window.discard()

    def extra_repr(self) -> str:
        """The hyperparameter that names the variant."""
        return f"alpha={self.alpha:g}"


def _mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the valid entries."""
    if valid is None:
        return values.mean()
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)
