r"""Measuring in the ordinary backward, at no extra pass through the heads.

Where every term has a head of its own, each may start from an alias of the shared features, its branch. The ordinary
backward of :math:`L = \sum_j w_j L_j`, scaled by s (a GradScaler's scale, one over the number of micro-batches), then
shows at branch i just what term i adds, :math:`s\, w_i g_i`, and at the loss :math:`L_i` itself :math:`s\, w_i`. Their
quotient is the gradient :math:`g_i` that a probe would need a pass of its own for.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_losses.balancers.probe import FeatureProbe, unreached
from lightning_losses.checks import message, nearest
from lightning_losses.numerics import at_least_float32, safe_divide


class Branches(Mapping[str, Tensor]):
    """An alias of the shared features for every term, by its name; made by `LossModule.branch`.

    Args:
        features: the shared features.
        names: the terms.
        measured: whether the branches are to be told apart in the backward, or are simply the features.
    """

    def __init__(self, features: Tensor, names: Sequence[str], measured: bool) -> None:
        if not isinstance(features, Tensor):
            raise TypeError(message("features", "one tensor", features))
        if measured and not features.requires_grad:
            raise ValueError("`features` must require a gradient, found a tensor that does not. Is it detached?")
        self.measured = measured
        self._features = features
        self._names = tuple(names)
        self._aliases: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        """The branch, made when first asked for.

        Autograd runs what was made last first: a branch made just before its head hands its gradient on as soon as the
        head has been passed, where branches made all at once would hold one each until the last head has.
        """
        if name not in self._names:
            raise KeyError(f"There is no term {name!r} to branch for. {nearest(name, self._names)}")
        if name not in self._aliases:
            self._aliases[name] = self._features.view_as(self._features) if self.measured else self._features
        return self._aliases[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def check(self, losses: Mapping[str, Tensor], balanced: Collection[str]) -> None:
        """Every balanced loss must come from its own branch and from nowhere else, and no other loss from that branch.

        Args:
            losses: all losses of the call, by name.
            balanced: which of them are balanced.

        Raises:
            ValueError: a term does not; the message names it.
        """
        owners = {self[name].grad_fn: name for name in losses}
        past = self[next(iter(losses))].grad_fn.next_functions[0]  # type: ignore[union-attr]
        for name, loss in losses.items():
            reached, passed = _reached(loss.grad_fn, owners, past)
            if name in balanced and name not in reached:
                raise ValueError(unreached(name))
            if name in balanced and passed:
                raise ValueError(
                    f"Term {name!r} must be computed from its branch alone, but it also reaches the features past it, "
                    "where its gradient is not seen: start everything of the term from its branch."
                )
            if others := reached & set(balanced) - {name}:
                raise ValueError(
                    f"Term {name!r} must be computed from its own branch alone, but it also reaches that of "
                    f"{min(others)!r}. Terms that share a head cannot be told apart in the backward: pass "
                    "shared=features instead."
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
        if not branches.measured:
            raise ValueError(
                "`shared` must be branches of this training call, found some made in evaluation mode or without "
                "gradients. Call criterion.branch(features) where the loss is computed."
            )
        for name, loss in losses.items():
            if not loss.requires_grad:
                raise ValueError(unreached(name))
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


def _reached(start: Any, owners: Mapping[Any, str], past: tuple[Any, int]) -> tuple[set[str], bool]:
    """Whose branches a graph, walked from its end, comes to, and whether it comes to the edge `past` beside them."""
    reached: set[str] = set()
    passed = False
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
            passed = passed or past in node.next_functions
            stack.extend(parent for parent, _ in node.next_functions)
    return reached, passed
