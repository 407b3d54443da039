"""Where parameters were when a task ended, and how much each of them matters to it."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_losses.checks import check_number, message, nearest
from lightning_losses.distributed import max_over_ranks
from lightning_losses.numerics import at_least_float32
from lightning_losses.sharding import held, is_sharded, laid_as, whole

Parameters = Mapping[str, Tensor]
"""Tensors by name of a parameter."""

STABLE = 2.0
"""The step size times the curvature up to which gradient descent on a quadratic function converges."""


@dataclass(frozen=True)
class Anchor:
    r"""Parameters :math:`\theta^*` and their importances F, by name, in float32 or wider.

    Of parameters that FSDP2 has sharded, a rank holds the same parts as of the model's.

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
            ValueError: the names or shapes do not fit, or an importance is negative or not finite; the message names
                it.
        """
        for name, importance in fisher.items():
            _check(name, importance.shape, parameters, "`fisher`")
        laid = {name: laid_as(at_least_float32(f.detach()), parameters[name]).clone() for name, f in fisher.items()}
        _check_importances(laid)
        return cls({name: at_least_float32(parameters[name].detach()).clone() for name in fisher}, laid)

    def followed_by(self, later: "Anchor", parameters: Parameters, gamma: float) -> "Anchor":
        r"""One anchor in the place of two: importances :math:`\gamma F + F_\text{later}`, at the present parameters."""
        fisher = {name: gamma * importance for name, importance in self.fisher.items()}
        for name, importance in later.fisher.items():
            fisher[name] = fisher[name].to(importance.device) + importance if name in fisher else importance
        return Anchor.of(parameters, fisher)

    def beside(self, parameters: Parameters) -> "Anchor":
        """On the devices of a model's parameters, and in their shards.

        Raises:
            ValueError: the model lacks a parameter or has it in another shape, as one of another architecture. The
                message names it.
        """
        for name, anchor in self.parameters.items():
            _check(name, anchor.shape, parameters, "an anchor")
        laid = [{n: laid_as(t, parameters[n]) for n, t in part.items()} for part in (self.parameters, self.fisher)]
        return Anchor(*laid)


def stable_penalty_step(strength: float, lr: float, fisher: Parameters) -> bool:
    r"""Whether plain gradient descent on the penalty alone would converge, :math:`\lambda\, \eta \max_i F_i \le 2`.

    Beyond that each step takes the most important parameter further past its anchor than it was before it, and SGD
    diverges. An adaptive optimizer hides it: the parameter then jumps about its anchor.

    Args:
        strength: the penalty's weight :math:`\lambda`.
        lr: the step size :math:`\eta`.
        fisher: the importances by name, summed over all anchors, as `EWC.importance` gives them. If they are sharded,
            all ranks must call it.

    Returns:
        Whether it converges; if not, it warns.

    Raises:
        ValueError: `strength` or `lr` is negative.

    >>> stable_penalty_step(100.0, 1e-3, {"weight": torch.tensor([0.5, 19.0])})
    True
    """
    check_number("strength", strength, at_least=0)
    check_number("lr", lr, at_least=0)
    if not fisher:
        return True
    greatest = dict(zip(fisher, _over_ranks(fisher, torch.max), strict=True))
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
    if found.shape != shape:
        raise ValueError(
            f"The parameter {name!r} has the shape {tuple(found.shape)} in the model and {tuple(shape)} in {owner}. "
            "Is it of another architecture?"
        )


def _check_importances(fisher: Parameters) -> None:
    """On all ranks alike, though one alone may hold what is wrong."""
    wrong = _over_ranks(fisher, lambda part: (~((part >= 0) & part.isfinite())).any())
    for (name, importance), found in zip(fisher.items(), wrong, strict=True):
        if found:
            raise ValueError(message(f"fisher[{name!r}]", "at least 0 and finite everywhere", _worst(importance)))


def _over_ranks(fisher: Parameters, greatest: Callable[[Tensor], Tensor]) -> list[float]:
    """What is greatest in each of the tensors, over their parts on all ranks; 0 of an empty one."""
    parts = [held(importance).part for importance in fisher.values()]
    found = [greatest(part).item() if part.numel() else 0.0 for part in parts]
    if any(map(is_sharded, fisher.values())):
        found = max_over_ranks(torch.tensor(found, dtype=torch.float64, device=parts[0].device)).tolist()
    return found


def _worst(importance: Tensor) -> float:
    values = whole(importance)
    return values[~((values >= 0) & values.isfinite())][0].item()
