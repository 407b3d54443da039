"""How often something may be measured that must not cost more than a share of the training time."""

import math
from typing import Any

from lightning_losses.checks import check_number

SMOOTHING = 0.9
"""Of the measured times."""
LARGEST_SAVING = 5.0
"""In measurements: time that was saved up beyond it is not spent in a burst later."""


class Budget:
    r"""A token bucket on measured times.

    A step of t seconds earns :math:`f t`, a measurement of c seconds spends c, and the next is due when its expected
    cost is covered. Debts are paid back, so the share spent tends to f however the costs vary.

    Whether a measurement is due is not asked at every step but known beforehand (`wait`): ranks that measure together
    must agree, and so they exchange one number a measurement, not one a step.

    Args:
        share: f, the share of the time without measurements that they may take.
        guess: what a measurement is taken to cost before the cost of one is known, in steps.

    Raises:
        ValueError: `share` is not above 0 and below 1.

    >>> budget = Budget(0.02, guess=3.0)
    >>> budget.earn(1.0)
    >>> budget.wait()  # 3 steps' time, of which 0.02 is saved
    149
    >>> budget.spend(0.5)
    >>> budget.wait()
    49
    """

    def __init__(self, share: float, guess: float = 3.0) -> None:
        self.share = check_number("budget", share, above=0, below=1)
        self.guess = guess
        self.credit = 0.0
        self.step_time = math.nan
        self.cost = math.nan
        self.earned_from = 0.0
        self.spent = 0.0

    def earn(self, seconds: float, steps: int = 1) -> None:
        """So many steps have taken so long, without measurements."""
        self.step_time = _smooth(self.step_time, seconds / steps)
        self.earned_from += seconds
        self.credit = min(self.credit + self.share * seconds, LARGEST_SAVING * self._expected_cost())

    def spend(self, seconds: float, typical: bool = True) -> None:
        """A measurement has taken so long; one that is not `typical` is paid for, but none like it is expected."""
        if typical:
            self.cost = _smooth(self.cost, seconds)
        self.spent += seconds
        self.credit -= seconds

    def wait(self) -> int:
        """In how many steps the next measurement is due, at least 1."""
        missing = self._expected_cost() - self.credit
        return max(1, math.ceil(missing / (self.share * self.step_time) - 1e-9)) if self.step_time > 0 else 1

    def state_dict(self) -> dict[str, Any]:
        """What was measured and spent."""
        return {name: value for name, value in vars(self).items() if name not in ("share", "guess")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        vars(self).update(state)

    def _expected_cost(self) -> float:
        return self.guess * self.step_time if math.isnan(self.cost) else self.cost


def _smooth(mean: float, value: float) -> float:
    return value if math.isnan(mean) else SMOOTHING * mean + (1 - SMOOTHING) * value
