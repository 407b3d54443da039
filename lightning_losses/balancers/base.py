"""What a balancer is: from the losses of a batch to the weights of their sum."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lightning_losses.balancers.probe import Probe

Present = slice | Tensor
"""Which of the terms a batch has: ``slice(None)`` for all of them, else their indices."""


class Balanced(NamedTuple):
    """A balanced sum: `total`, the scalar to minimise, and `weights`, d total / d losses, of the present terms."""

    total: Tensor
    weights: Tensor


def weighted_sum(losses: Tensor, weights: Tensor) -> Balanced:
    """The plain weighted sum; `weights` carries a graph only where it is learned with the model."""
    return Balanced(torch.dot(weights, losses), weights.detach())


class Balancer(nn.Module, ABC):
    r"""Weights of a sum of losses, :math:`\sum_i w_i L_i`.

    A `LossModule` binds its balancer to the terms once, calls it in every forward, and closes every optimizer step
    with `step`. What a call has measured may change the state only in `step`: the weights that a training step used
    are the ones its checkpoint and its report show.
    """

    needs_probe: ClassVar[bool] = False
    """Whether it measures gradients, and therefore needs `shared` in training calls."""
    takes_ratios: ClassVar[bool] = False
    """Whether it compares losses by their ratios, which negative ones do not have."""
    is_weighted_sum: ClassVar[bool] = True
    """Whether the total is the plain weighted sum, so that its bounds follow from those of the terms."""

    names: tuple[str, ...] = ()
    steps: int = 0

    def bind(self, names: Sequence[str], priors: Sequence[float]) -> None:
        """Make the state for these terms. Called once, by the LossModule.

        Args:
            names: the balanced terms, in order.
            priors: the weights that the user gave them at step 0.

        Raises:
            ValueError: the balancer already belongs to other terms.
        """
        if self.names:
            raise ValueError(
                f"`balancer` must belong to one LossModule, found one that balances {', '.join(self.names)}."
            )
        self.names = tuple(names)

    @abstractmethod
    def forward(self, losses: Tensor, priors: Tensor, present: Present, probe: Probe | None) -> Balanced:
        """The total of a batch, and the weights in it.

        Args:
            losses: the values of the present terms, 1-d, with their graph.
            priors: the user's weights of all terms at this step, 1-d, not negative.
            present: which terms the batch has.
            probe: what measures gradients; None outside training and for balancers that measure none.
        """

    def step(self) -> None:
        """Close an optimizer step: turn what was measured in it into the next step's weights, and count it."""
        self.steps += 1

    def discard(self) -> None:
        """Forget what was measured since the last step, because the optimizer did not take it (an overflow)."""

    def get_extra_state(self) -> dict[str, Any]:
        """The number of steps taken."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.steps = state["steps"]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Balancer":
        # A model that is cast to half precision keeps its balancer's statistics in single precision.
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = self.get_buffer(name)
            if new.dtype != torch.promote_types(old.dtype, new.dtype):
                self.register_buffer(name, old.to(new.device))
        return self

    def _buffer(self, name: str, value: Any) -> None:
        self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
