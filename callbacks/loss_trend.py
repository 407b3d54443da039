"""Whether normalised losses still improve, or are too small to be true."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

DECAY = 0.9
LEAST_IMPROVEMENT = 0.01
"""In normalised units, where 1 is knowing nothing."""


@dataclass
class LossTrend:
    """The smoothed course of one normalised value.

    Args:
        smoothed: its running mean.
        best: the smallest that was, to within `LEAST_IMPROVEMENT`.
        best_step: the optimizer step at which that was.
    """

    smoothed: float = math.nan
    best: float = math.inf
    best_step: int = 0

    def add(self, value: float, step: int) -> None:
        """Take in the value at an optimizer step; one that is not finite is left out.

        >>> trend = LossTrend()
        >>> for step, value in enumerate([1.0, 0.5, 0.5]):
        ...     trend.add(value, step)
        >>> round(trend.smoothed, 3), trend.best_step
        (0.905, 2)
        """
        if not math.isfinite(value):
            return
        self.smoothed = value if math.isnan(self.smoothed) else DECAY * self.smoothed + (1 - DECAY) * value
        if self.smoothed < self.best - LEAST_IMPROVEMENT:
            self.best, self.best_step = self.smoothed, step


class LossTrends:
    """The courses of all losses, and what is odd about them.

    Args:
        plateau_steps: a loss that has not improved for so many steps is on a plateau.
        too_good: a loss below this,
        too_good_steps: before this step, is too good to be true.
    """

    def __init__(self, plateau_steps: int, too_good: float, too_good_steps: int) -> None:
        self.plateau_steps = plateau_steps
        self.too_good = too_good
        self.too_good_steps = too_good_steps
        self._trends: dict[str, LossTrend] = {}
        self._warned: set[tuple[str, str]] = set()

    def add(self, name: str, value: float, step: int) -> dict[str, bool]:
        """Take in the value of one loss; the flags by name. The first of each is warned of."""
        trend = self._trends.setdefault(name, LossTrend())
        trend.add(value, step)
        flags = {
            "plateau": step - trend.best_step >= self.plateau_steps,
            "too_good": step < self.too_good_steps and trend.smoothed < self.too_good,
        }
        texts = {
            "plateau": f"has not improved since step {trend.best_step}",
            "too_good": f"is {trend.smoothed:.2g} of what a model scores that knows nothing, too good to be true",
        }
        for kind, is_set in flags.items():
            if is_set and (kind, name) not in self._warned:
                self._warned.add((kind, name))
                rank_zero_warn(f"Loss {name!r} {texts[kind]}, at step {step}.")
        return flags

    def state_dict(self) -> dict[str, Any]:
        """The courses by name."""
        return {name: asdict(trend) for name, trend in self._trends.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._trends = {name: LossTrend(**trend) for name, trend in state.items()}
