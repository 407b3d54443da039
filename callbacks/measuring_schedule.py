"""Which batches are measured: the same on all ranks."""

import math
from typing import Any

from lightning_losses.callbacks.budget import Budget

FIRST = 2.0
"""What the first measurement costs, which has to find out how to measure, in later ones."""


class MeasuringSchedule:
    """Every n-th batch, or as many batches as a share of the training time pays for.

    What cannot be measured should be known at once, so the first batch is measured on credit, if the training is long
    enough to pay it back; otherwise it would never be within its budget.
    What was earned and spent is settled once a measurement, with numbers that all ranks have exchanged in it, so that
    all of them know which batch is the next and no collective is needed in between.

    Args:
        share: of the training time.
        every: measure every n-th batch instead, whatever it costs.
        guess: what a measurement may cost, in steps, as long as that is not known.

    Raises:
        ValueError: `share` is not above 0 and below 1.
    """

    def __init__(self, share: float, every: int | None = None, guess: float = 3.0) -> None:
        self.budget = Budget(share, guess)
        self.every = every
        self._left = 1
        self._steps, self._seconds, self._spent = 0, 0.0, 0.0

    def begin(self, batches: float) -> bool:
        """Whether a training of so many batches pays for a measurement; if not, none is made."""
        needed = math.ceil(FIRST * self.budget.guess / self.budget.share)
        if self.every is not None or batches >= needed:
            return True
        self._left = needed
        return False

    def next_batch(self) -> bool:
        """Whether to measure this batch. To be asked once for each."""
        self._left -= 1
        return self._left <= 0

    def stepped(self, seconds: float) -> None:
        """A step has taken so long, without measurements."""
        self._steps += 1
        self._seconds += seconds

    def measured(self, seconds: float) -> None:
        """A measurement, or something that belongs to it, has taken so long."""
        self._spent += seconds

    @property
    def overhead(self) -> float:
        """What measurements have taken as a share of the rest, on this rank since the last settlement."""
        seconds = self.budget.earned_from + self._seconds
        return (self.budget.spent + self._spent) / seconds if seconds else 0.0

    def account(self) -> list[float]:
        """What is not settled yet: seconds earned from, their steps, seconds spent."""
        return [self._seconds, self._steps, self._spent]

    def settle(self, seconds: float, steps: float, spent: float) -> None:
        """Settle an account, the mean of the ranks'."""
        self._steps, self._seconds, self._spent = 0, 0.0, 0.0
        if steps:
            self.budget.earn(seconds, round(steps))
        if spent:
            self.budget.spend(spent, typical=self.budget.spent > 0)  # the first finds out how to measure
        self._left = self.every or self.budget.wait()

    def state_dict(self) -> dict[str, Any]:
        """When the next measurement is due, and what was settled."""
        return {"left": self._left, "budget": self.budget.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._left = state["left"]
        self.budget.load_state_dict(state["budget"])
