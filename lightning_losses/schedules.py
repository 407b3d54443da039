"""Weights that change with the optimizer step."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from lightning_losses.checks import check_number


class Schedule(ABC):
    """A weight as a pure function of the optimizer step, so that a resumed run continues it exactly."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The weight at `step` (0 at the first optimizer step)."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same weight at every step.

    >>> Constant(0.5)(1000)
    0.5
    """

    value: float

    def __post_init__(self) -> None:
        check_number("value", self.value, at_least=0)

    def __call__(self, step: int) -> float:
        """`value`."""
        return self.value


@dataclass(frozen=True)
class _Ramp(Schedule):
    """From `start` to `end` in `steps` steps, after `delay` steps at `start`."""

    start: float
    end: float
    steps: int
    delay: int = 0

    def __post_init__(self) -> None:
        check_number("start", self.start, at_least=0)
        check_number("end", self.end, at_least=0)
        check_number("steps", self.steps, at_least=1)
        check_number("delay", self.delay, at_least=0)

    def __call__(self, step: int) -> float:
        """The weight at `step`, by the curve's `shape`."""
        progress = min(max((step - self.delay) / self.steps, 0.0), 1.0)
        return self.start + (self.end - self.start) * self.shape(progress)

    @abstractmethod
    def shape(self, progress: float) -> float:
        """From 0 at progress 0 to 1 at progress 1."""


class Linear(_Ramp):
    """A straight line from `start` to `end` in `steps` steps, after `delay` steps at `start`.

    >>> [Linear(0.0, 1.0, steps=4)(step) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def shape(self, progress: float) -> float:
        """The identity."""
        return progress


class Cosine(_Ramp):
    """Half a cosine from `start` to `end` in `steps` steps, after `delay` steps at `start`; flat at both ends.

    >>> [round(Cosine(1.0, 0.0, steps=4)(step), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def shape(self, progress: float) -> float:
        """Half a cosine period."""
        return (1 - math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class WarmUp(Schedule):
    """From 0 linearly to `value` in `steps` steps, then constant: for a term that must not disturb the start.

    >>> [WarmUp(0.5, steps=2)(step) for step in range(4)]
    [0.0, 0.25, 0.5, 0.5]
    """

    value: float
    steps: int

    def __post_init__(self) -> None:
        check_number("value", self.value, at_least=0)
        check_number("steps", self.steps, at_least=1)

    def __call__(self, step: int) -> float:
        """`value` times the share of the warm-up that is over."""
        return self.value * min(step / self.steps, 1.0)


__all__ = ["Constant", "Cosine", "Linear", "Schedule", "WarmUp"]
