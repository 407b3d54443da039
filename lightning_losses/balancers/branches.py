r"""Measuring in the ordinary backward, at no extra pass through the heads.

Where every term has a head of its own, each may start from an alias of the shared features, its branch. The ordinary
backward of :math:`L = \sum_j w_j L_j`, scaled by s (a GradScaler's scale, one over the number of micro-batches), then
shows at branch i just what term i adds, :math:`s\, w_i g_i`, and at the loss :math:`L_i` itself :math:`s\, w_i`. Their
quotient is the gradient :math:`g_i` that a probe would need a pass of its own for.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_losses.balancers.probe import FeatureProbe, unreached
from lightning_losses.checks import nearest
from lightning_losses.numerics import at_least_float32, safe_divide


class Branches(Mapping[str, Tensor]):
    """An alias of the shared features for every term, by its name; made by `LossModule.branch`.

    Args:
        features: the shared features.
        names: the terms.
        measured: whether the branches are to be told apart in the backward, or are simply the features.
    """

    def __init__(self, features: Tensor, names: Sequence[str], measured: bool) -> None:
        if measured and not features.requires_grad:
            raise ValueError("`features` must require a gradient, found a tensor that does not. Is it detached?")
        self._aliases = {name: features.view_as(features) if measured else features for name in names}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._aliases:
            raise KeyError(f"There is no term {name!r} to branch for. {nearest(name, self._aliases)}")
        return self._aliases[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._aliases)

    def __len__(self) -> int:
        return len(self._aliases)

    def check(self, losses: Mapping[str, Tensor]) -> None:
        """Every loss must come from its own branch and from no other.

        Raises:
            ValueError: a term does not; the message names it.
        """
        owners = {branch.grad_fn: name for name, branch in self.items()}
        for name, loss in losses.items():
            reached = _reached(loss.grad_fn, owners)
            if name not in reached:
                raise ValueError(unreached(name))
            if reached != {name}:
                other = min(reached - {name})
                raise ValueError(
                    f"Term {name!r} must be computed from its own branch alone, but it also reaches that of {other!r}. "
                    "Terms that share a head cannot be told apart in the backward: pass shared=features instead."
                )


class BackwardProbe(FeatureProbe):
    """Listens to the ordinary backward at the branches.

    Should the graph be differentiated more than once (by a monitor, say), what the last pass showed counts. Neither
    the graph nor the features are kept alive.

    Args:
        branches: where the terms' heads started.
        losses: the losses by name.
    """

    def __init__(self, branches: Branches, losses: Mapping[str, Tensor]) -> None:
        super().__init__((), {})
        self._names = tuple(losses)
        self._squares: dict[str, Tensor] = {}
        self._scales: dict[str, Tensor] = {}
        for name, loss in losses.items():
            branches[name].register_hook(partial(_keep_square, self._squares, name))  # type: ignore[no-untyped-call]
            loss.register_hook(partial(_keep, self._scales, name))  # type: ignore[no-untyped-call]

    @property
    def has_passed(self) -> bool:
        """Whether the backward has come by."""
        return bool(self._scales)

    def sums(self, pairwise: bool) -> Tensor:
        """Squared norms [T] of the terms' gradients, never inner products; what the backward did not reach has none."""
        none = torch.zeros_like(next(iter(self._scales.values())))
        squares, scales = (
            torch.stack([found.get(name, none) for name in self._names]) for found in (self._squares, self._scales)
        )
        return safe_divide(squares, scales.square())


def _keep(into: dict[str, Tensor], name: str, gradient: Tensor) -> None:
    into[name] = gradient.detach()


def _keep_square(into: dict[str, Tensor], name: str, gradient: Tensor) -> None:
    into[name] = at_least_float32(gradient.detach()).square().sum()


def _reached(start: Any, owners: Mapping[Any, str]) -> set[str]:
    """The owners of the branches that a graph, walked from its end, comes to."""
    reached: set[str] = set()
    seen: set[Any] = set()
    stack = [start]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in owners:
            reached.add(owners[node])
        else:
            stack.extend(parent for parent, _ in node.next_functions)
    return reached
