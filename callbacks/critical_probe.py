"""The curvature that the next step would feel, from losses alone."""

import math

import torch

from lightning_losses.callbacks.followed import Found
from lightning_losses.callbacks.over_ranks import mean_gradient, mean_loss
from lightning_losses.callbacks.replay import Replay
from lightning_losses.callbacks.stability import stability_of
from lightning_losses.curvature.critical import critical_sharpness
from lightning_losses.curvature.directions import multiply, norm


class CriticalProbe:
    r"""Searches along the step that the optimizer would take without momentum for where the loss is back at its start.

    With :math:`\theta - \eta D g`, D the optimizer's preconditioner with its learning rate (see `stability_of`):
    ``critical`` is :math:`1/\eta_c`. At 1 the step ends at the loss at which it has started; above, the loss rises.
    Momentum makes larger steps stable, so training with it may live above 1. It costs a gradient and some six forward
    passes, and needs no second derivative. Under DDP loss and gradient are the means over the ranks, as the step's are.
    """

    names = ("critical",)
    cost = 4.0
    positive = frozenset({"critical"})

    def __init__(self) -> None:
        self._step = 1.0

    def measure(self, replay: Replay, generator: torch.Generator) -> Found:
        """Search along one batch's gradient; NaN while the optimizer has no preconditioner yet, or is not known.

        Raises:
            FloatingPointError: on all ranks, the loss of one is not finite, or the gradient.
        """
        parameters = replay.parameters
        stability = stability_of(replay.trained_by, {id(p): name for name, p in replay.model.named_parameters()})
        value = math.nan
        if stability is not None:
            step = multiply(mean_gradient(replay, parameters), stability.steps)
            if not norm(step).isfinite():
                raise FloatingPointError("The gradient is not finite.")
            found = critical_sharpness(mean_loss(replay), parameters, step, first_step=self._step)
            value = found.value / 2
            self._step = 1 / value if 0 < value < math.inf else 1.0
        values = torch.tensor([value], dtype=torch.float64)
        return Found(values, torch.full_like(values, math.nan))
