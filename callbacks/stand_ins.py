"""What stands in for optimizers while a step under manual optimization is run again."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


class NoLossError(ValueError):
    """A training step has made no loss that could be looked at."""


class Backwards:
    """Collects the losses that a step under manual optimization differentiates, and steps nothing.

    The loss of an optimizer is the sum of those that `manual_backward` was given since the optimizer before it took its
    step.

    Args:
        optimizers: the Trainer's.
        wanted: the index of the one whose loss is wanted.
    """

    def __init__(self, optimizers: Sequence[Optimizer], wanted: int) -> None:
        self.wanted = wanted
        self._optimizers = [OptimizerStandIn(optimizer, self, i) for i, optimizer in enumerate(optimizers)]
        self._waiting: list[Tensor] = []
        self._losses: dict[int, Tensor] = {}

    @property
    def stand_ins(self) -> dict[str, Any]:
        """The attributes of the LightningModule that are to be replaced."""
        nothing = _Nothing()
        names = ("lr_schedulers", "toggle_optimizer", "untoggle_optimizer", "clip_gradients")
        return dict.fromkeys(names, nothing) | {"manual_backward": self._differentiate, "optimizers": self._get}

    @property
    def loss(self) -> Tensor:
        """The loss of the wanted optimizer.

        Raises:
            NoLossError: the step has differentiated none.
        """
        if len(self._optimizers) == 1 and self._waiting:  # a micro-batch that is only accumulated
            self.stepped(self.wanted)
        if self.wanted not in self._losses:
            raise NoLossError(f"`training_step` has made no loss for optimizer {self.wanted} of this batch.")
        return self._losses[self.wanted]

    def stepped(self, optimizer: int) -> None:
        """The losses that were differentiated by now are this optimizer's."""
        if self._waiting:
            self._losses[optimizer] = sum(self._waiting[1:], self._waiting[0])
        self._waiting = []

    def keep(self, optimizer: int, loss: Tensor) -> None:
        """The loss of an optimizer, where it is known without guessing."""
        self._losses[optimizer] = loss

    def _differentiate(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        self._waiting.append(loss)

    def _get(self, use_pl_optimizer: bool = True) -> Any:
        return self._optimizers[0] if len(self._optimizers) == 1 else self._optimizers


class OptimizerStandIn:
    """Has the settings of an optimizer, but no parameters, so it can neither change nor clip anything."""

    def __init__(self, optimizer: Optimizer, backwards: Backwards, index: int) -> None:
        self.param_groups = [group | {"params": []} for group in optimizer.param_groups]
        self._backwards = backwards
        self._index = index

    def step(self, closure: Any = None, **kwargs: Any) -> None:
        """Only note that it would have stepped now."""
        if closure is not None:
            closure()
        self._backwards.stepped(self._index)

    def zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Leave the gradients as they are."""

    def toggle_model(self, *args: Any, **kwargs: Any) -> AbstractContextManager[None]:
        """Leave `requires_grad` as it is."""
        return nullcontext()

    def keep(self, loss: Tensor) -> None:
        """Take the loss that this optimizer would have been stepped for."""
        self._backwards.keep(self._index, loss)


class _Nothing:
    """Whatever it is asked or told, nothing happens."""

    def __call__(self, *args: Any, **kwargs: Any) -> "_Nothing":
        return self

    def __getattr__(self, name: str) -> "_Nothing":
        return self
