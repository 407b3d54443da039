"""Where parameters were when a task ended, and how much each of them matters to it."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message, nearest
from lightning_losses.numerics import at_least_float32
from lightning_losses.sharding import is_sharded

Parameters = Mapping[str, Tensor]
"""Tensors by name of a parameter."""

STABLE = 2.0
"""The step size times the curvature up to which gradient descent on a quadratic function converges."""


@dataclass(frozen=True)
class Anchor:
    r"""Parameters :math:`\theta^*` and their importances F, by name, in float32 or wider.

    Args:
        parameters: :math:`\theta^*`.
        fisher: F, for the same names and in the same shapes: the diagonal of the Fisher information, or another measure
            of importance.
    """

    parameters: dict[str, Tensor]
    fisher: dict[str, Tensor]

    @classmethod
    def of(cls, parameters: Parameters, fisher: Parameters) -> "Anchor":
        """Copies of the parameters that have an importance, and of that.

        Raises:
            ValueError: the names or shapes do not fit, an importance is negative or not finite, or a parameter is
                sharded; the message names it.
        """
        for name, importance in fisher.items():
            _check(name, importance.shape, parameters, "`fisher`")
            if not bool((importance >= 0).all() & importance.isfinite().all()):
                raise ValueError(message(f"fisher[{name!r}]", "at least 0 and finite everywhere", _worst(importance)))
        return cls(
            {name: at_least_float32(parameters[name].detach()).clone() for name in fisher},
            {name: at_least_float32(importance.detach()).clone() for name, importance in fisher.items()},
        )

    def followed_by(self, later: "Anchor", parameters: Parameters, gamma: float) -> "Anchor":
        r"""One anchor in the place of two: importances :math:`\gamma F + F_\text{later}`, at the present parameters."""
        fisher = {name: gamma * importance for name, importance in self.fisher.items()}
        for name, importance in later.fisher.items():
            fisher[name] = fisher[name].to(importance.device) + importance if name in fisher else importance
        return Anchor.of(parameters, fisher)

    def beside(self, parameters: Parameters) -> "Anchor":
        """On the devices of a model's parameters.

        Raises:
            ValueError: the model lacks a parameter or has it in another shape, as one of another architecture; or a
                parameter is sharded. The message names it.
        """
        for name, anchor in self.parameters.items():
            _check(name, anchor.shape, parameters, "an anchor")
        if all(anchor.device == parameters[name].device for name, anchor in self.parameters.items()):
            return self
        moved = [{n: t.to(parameters[n].device) for n, t in part.items()} for part in (self.parameters, self.fisher)]
        return Anchor(*moved)


def stable_penalty_step(strength: float, lr: float, fisher: Parameters) -> bool:
    r"""Whether plain gradient descent on the penalty alone would converge, :math:`\lambda\, \eta \max_i F_i \le 2`.

    Beyond that each step takes the most important parameter further past its anchor than it was before it, and SGD
    diverges. An adaptive optimizer hides it: the parameter then jumps about its anchor.

    Args:
        strength: the penalty's weight :math:`\lambda`.
        lr: the step size :math:`\eta`.
        fisher: the importances by name, summed over all anchors, as `EWC.importance` gives them.

    Returns:
        Whether it converges; if not, it warns.

    Raises:
        ValueError: `strength` or `lr` is negative.

    >>> stable_penalty_step(100.0, 1e-3, {"weight": torch.tensor([0.5, 19.0])})
    True
    """
    check_number("strength", strength, at_least=0)
    check_number("lr", lr, at_least=0)
    greatest = {name: importance.max().item() for name, importance in fisher.items() if importance.numel()}
    if not greatest:
        return True
    name = max(greatest, key=lambda key: greatest[key])
    product = strength * lr * greatest[name]
    if product > STABLE:
        warnings.warn(
            f"The penalty's own gradient step overshoots: strength {strength:g} * lr {lr:g} * greatest importance "
            f"{greatest[name]:.3g} (in {name!r}) = {product:.3g}, above {STABLE:g}. Plain SGD diverges: lower one.",
            UserWarning,
            stacklevel=2,
        )
    return product <= STABLE


def _check(name: str, shape: torch.Size, parameters: Parameters, owner: str) -> None:
    if name not in parameters:
        raise ValueError(
            f"The model has no parameter {name!r}, which {owner} has. Is it of another architecture, or another module "
            f"than the one whose importances were taken? {nearest(name, parameters)}"
        )
    found = parameters[name]
    if is_sharded(found):
        raise ValueError(f"The model must hold its parameters whole, found {name!r} in shards (FSDP2). Use DDP.")
    if found.shape != shape:
        raise ValueError(
            f"The parameter {name!r} has the shape {tuple(found.shape)} in the model and {tuple(shape)} in {owner}. "
            "Is it of another architecture?"
        )


def _worst(importance: Tensor) -> float:
    return importance[~((importance >= 0) & importance.isfinite())][0].item()
