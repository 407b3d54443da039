"""How large a curvature an optimizer can stand."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer, RMSprop

from lightning_losses.curvature.estimate import Direction


class Stability(NamedTuple):
    """Training on a quadratic is stable while lambda_max(D^1/2 H D^1/2) <= limit.

    Args:
        steps: D, the diagonal, by parameter: the step that an entry takes per unit of its gradient. A 0-d tensor stands
            for one that is the same for all entries.
        limit: the largest eigenvalue that is stable.
        decay: coupled weight decay of each parameter, which adds to the diagonal of H.
    """

    steps: Direction
    limit: float
    decay: Mapping[str, float]

    @property
    def is_uniform(self) -> bool:
        """Whether D is one number, so that lambda_max(D^1/2 H D^1/2) = lr lambda_max(H)."""
        return all(step.ndim == 0 for step in self.steps.values()) and len({float(s) for s in self.steps.values()}) == 1


def stability_of(optimizer: Optimizer, names: Mapping[int, str]) -> Stability | None:
    r"""The preconditioner and the stability limit of an optimizer.

    Gradient descent with step :math:`\eta` on a quadratic diverges where :math:`\lambda_{\max} > 2/\eta`. With
    preconditioner and momentum :math:`\beta` (Cohen et al. 2021, arXiv:2103.00065, for SGD; 2022, arXiv:2207.14484, for
    Adam; biased first moments corrected):

    =================  ==========================================================  =================================
    optimizer          D                                                           limit
    =================  ==========================================================  =================================
    SGD                :math:`\eta`                                                :math:`2(1 + \beta)`
    SGD, Nesterov      :math:`\eta`                                                :math:`2(1 + \beta)/(1 + 2\beta)`
    Adam, AdamW        :math:`\eta / ((1 - \beta_1^t)(\sqrt{\hat v} + \epsilon))`  :math:`2(1+\beta_1)/(1-\beta_1)`
    RMSprop            :math:`\eta / (\sqrt v + \epsilon)`                         :math:`2(1 + \beta)`
    =================  ==========================================================  =================================

    Args:
        optimizer: the optimizer.
        names: of its parameters that are measured, by their `id`.

    Returns:
        None for other optimizers, for one that has not stepped yet but needs a second moment, and for one whose groups
        have different momenta.
    """
    limits = {_limit(optimizer, group) for group in optimizer.param_groups}
    if len(limits) != 1 or None in limits:
        return None
    steps: dict[str, Tensor] = {}
    decay: dict[str, float] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names.get(id(parameter))
            if name is None:
                continue
            step = _step(optimizer, group, optimizer.state.get(parameter, {}))
            if step is None:
                return None
            steps[name] = step
            decay[name] = 0.0 if group.get("decoupled_weight_decay") else group["weight_decay"]
    (limit,) = limits
    return Stability(steps, limit or math.inf, decay) if steps else None


def _limit(optimizer: Optimizer, group: Mapping[str, Any]) -> float | None:
    if isinstance(optimizer, Adam):  # AdamW is one
        beta = float(group["betas"][0])
        return 2 * (1 + beta) / (1 - beta)
    if isinstance(optimizer, SGD | RMSprop):
        beta = float(group["momentum"])
        return 2 * (1 + beta) / (1 + 2 * beta * bool(group.get("nesterov")))
    return None


def _step(optimizer: Optimizer, group: Mapping[str, Any], state: Mapping[str, Tensor]) -> Tensor | None:
    """The entry of D for one parameter; None if its second moment is not known yet."""
    rate = torch.as_tensor(group["lr"], dtype=torch.float32)
    if isinstance(optimizer, SGD):
        return rate
    damping: float = group["eps"]
    squares = state.get("max_exp_avg_sq", state.get("exp_avg_sq", state.get("square_avg")))
    if squares is None:
        return None
    if isinstance(optimizer, RMSprop):
        return rate.to(squares) / (squares.sqrt() + damping)
    first, second = (1 - beta ** float(state["step"]) for beta in group["betas"])
    whole: Tensor = rate.to(squares) / (((squares / second).sqrt() + damping) * first)
    return whole
