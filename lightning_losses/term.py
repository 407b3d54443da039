"""A term of a composed loss: the loss, the inputs it takes, its weight, its bounds."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_number, message, nearest
from lightning_losses.losses.base import Loss
from lightning_losses.numerics import at_least_float32
from lightning_losses.schedules import Constant, Schedule


class Composite(nn.Module, ABC):
    """A loss made of terms: it names its inputs, and as a term of another it receives just those."""

    @property
    @abstractmethod
    def inputs(self) -> frozenset[str]:
        """The keywords that its call understands."""

    @abstractmethod
    def bounds(self) -> Bounds:
        """The range of the composed value at the present weights."""


class Term(nn.Module):
    r"""One summand :math:`w \cdot L(\ldots)` of a `LossModule`.

    Args:
        loss: any callable that returns a scalar tensor: a `Loss`, an `nn.Module`, a function, another `LossModule`.
            None for a value that was already computed and is passed in the call under the term's own name, as
            torchvision's detectors and Hugging Face's models return them.
        weight: a number or a schedule, at least 0. With a balancer it is the term's prior importance.
        inputs: which keywords of the LossModule's call the loss takes. A sequence passes them by position, a mapping
            {parameter of the loss: keyword of the call} by name. Default: what a `Loss` says in its `inputs`, otherwise
            ``("input", "target")``; the term's own name if `loss` is None; everything it understands if `loss` is a
            LossModule.
        bounds: the range of the loss, where it does not know it itself.
        optional: whether a call may come without the inputs; the term is then absent from that batch.
        balanced: whether the balancer may change the weight. False for a regulariser, whose gradient does not pass
            through the shared features.

    Raises:
        ValueError: the weight is negative or not finite.
        TypeError: `loss` cannot be called.

    >>> import torch
    >>> from lightning_losses import LossModule, losses
    >>> criterion = LossModule({
    ...     "fit": losses.MSE(),
    ...     "size": Term(lambda x: x.square().mean(), weight=0.5, inputs=["input"]),
    ... })
    >>> criterion(torch.tensor([2.0]), torch.tensor([1.0]))
    tensor(3.)
    """

    loss: Callable[..., Tensor] | None

    def __init__(
        self,
        loss: nn.Module | Callable[..., Tensor] | None = None,
        weight: float | Schedule = 1.0,
        inputs: Sequence[str] | Mapping[str, str] | None = None,
        bounds: Bounds | None = None,
        optional: bool = False,
        balanced: bool = True,
    ) -> None:
        super().__init__()
        if loss is not None and not callable(loss):
            raise TypeError(message("loss", "a callable that returns a scalar tensor, or None", loss))
        if isinstance(inputs, str):
            raise TypeError(message("inputs", "a sequence or a mapping of keywords", inputs))
        self.loss = loss
        self.schedule = weight if isinstance(weight, Schedule) else Constant(check_number("weight", weight, at_least=0))
        self.inputs = inputs
        # Resolved once, since every call needs it: all keywords of a composite, or some by name, or some by position.
        self._takes_all = loss.inputs if isinstance(loss, Composite) and inputs is None else None
        self._by_name = dict(inputs) if isinstance(inputs, Mapping) else {}
        self._by_position = (
            None if isinstance(inputs, Mapping) or (loss is None and inputs is None) else self._positional("")
        )
        self.optional = optional
        self.balanced = balanced
        self._bounds = bounds
        self._statistics = torch.empty(0)
        self._observed = torch.empty(0)

    def keywords(self, name: str) -> frozenset[str]:
        """The keywords of the call that this term, called `name`, takes."""
        if isinstance(self.inputs, Mapping):
            return frozenset(self.inputs.values())
        return frozenset(self._positional(name))

    def select(self, name: str, call: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]] | None:
        """The positional and keyword arguments of the loss, out of those of the call; None if the term is absent.

        Raises:
            TypeError: the call lacks an input and the term is not optional; the message names both.
        """
        if self._takes_all is not None:
            return [], {keyword: call[keyword] for keyword in self._takes_all if keyword in call}
        by_name, by_position = self._by_name, self._by_position
        if by_position is None:  # by name, or already computed and passed under the term's own name
            by_position = () if by_name else (name,)
        missing = [k for k in (*by_position, *by_name.values()) if call.get(k) is None]
        if not missing:
            return [call[k] for k in by_position], {parameter: call[k] for parameter, k in by_name.items()}
        if self.optional:
            return None
        raise TypeError(
            f"Term {name!r} needs the input {missing[0]!r}, which the call lacks. {nearest(missing[0], call)}"
        )

    def forward(self, name: str, positional: Sequence[Any], named: Mapping[str, Any]) -> Tensor:
        """The value of the loss: a 0-d tensor in float32 or wider.

        Raises:
            TypeError: the loss did not return a tensor.
            ValueError: it returned more than one number.
        """
        loss = self.loss
        value = positional[0] if loss is None else loss(*positional, **named)
        if not isinstance(value, Tensor):
            raise TypeError(f"Term {name!r} must return a scalar tensor, found {type(value).__name__}.")
        if value.numel() != 1:
            raise ValueError(
                f"Term {name!r} must return a scalar, found a tensor of shape {tuple(value.shape)}. Reduce it."
            )
        return at_least_float32(value if value.ndim == 0 else value.reshape(()))

    def observe(self, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Let the data of one more batch speak for the reference of the bounds; for good, once they are kept."""
        if self._bounds is None and isinstance(self.loss, Loss):
            self._observed = _plus(self._observed, self.loss.statistics(*positional, **named))

    def keep(self, decay: float | None = None) -> None:
        """Keep what was observed since the last optimizer step, and of what is older only this factor."""
        if self._observed.numel():
            known = self._statistics if decay is None else decay * self._statistics
            self._statistics = _plus(known, self._observed)
            self.discard()

    def discard(self) -> None:
        """Forget what was observed since the last optimizer step."""
        self._observed = torch.empty(0)

    def bounds(self) -> Bounds:
        """The range of the loss; without any knowledge the whole real line."""
        if self._bounds is not None:
            return self._bounds
        if isinstance(self.loss, Loss):
            return self.loss.bounds(_plus(self._statistics, self._observed))
        return self.loss.bounds() if isinstance(self.loss, Composite) else Bounds(-math.inf, math.inf)

    def formula(self, name: str) -> str:
        """The term as a summand: ``weight * name[loss](inputs)``."""
        weight = f"{self.schedule.value:g}" if isinstance(self.schedule, Constant) else repr(self.schedule)
        if self.loss is None:
            return f"{weight} * {name}"
        loss = repr(self.loss) if isinstance(self.loss, nn.Module) else getattr(self.loss, "__name__", repr(self.loss))
        named = self.inputs.items() if isinstance(self.inputs, Mapping) else ()
        inputs = ", ".join(f"{parameter}={keyword}" for parameter, keyword in named) or ", ".join(
            self._positional(name)
        )
        return f"{weight} * {name}[{loss}]({inputs})"

    def get_extra_state(self) -> dict[str, Any]:
        """The data's statistics: no tensor, because distributed checkpoints restore none whose length has grown."""
        return {"statistics": self._statistics.tolist()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self._statistics = torch.tensor(state["statistics"], dtype=torch.float64)

    def _positional(self, name: str) -> Sequence[str]:
        """The keywords whose values the loss takes by position."""
        if self.inputs is not None and not isinstance(self.inputs, Mapping):
            return self.inputs
        if isinstance(self.loss, Composite):
            return sorted(self.loss.inputs - {"shared"})
        if isinstance(self.loss, Loss):
            return self.loss.inputs
        return ("input", "target") if self.loss is not None else (name,)


def _plus(sums: Tensor, more: Tensor) -> Tensor:
    """The sum of two vectors of statistics, either of which may still be empty."""
    if not sums.numel() or not more.numel():
        return more if more.numel() else sums
    return sums.to(more) + more
