"""Critical sharpness: the curvature that a training step feels, from losses alone."""

import math
from dataclasses import dataclass

from lightning_losses.checks import check_number, message
from lightning_losses.curvature.directions import loss_at, moved
from lightning_losses.curvature.estimate import Direction, Objective, Parameters

FARTHEST = 20
"""How many doublings or halvings of the first step are tried: a factor of a million."""


@dataclass(frozen=True)
class CriticalSharpness:
    r"""Where the loss along a direction is back at its start.

    Args:
        value: :math:`\lambda_c = 2 / \eta_c`; training with learning rate :math:`\eta` is unstable above
            :math:`2 / \eta`.
        lower: a bound of `value` from below: at the step 2 / lower the loss was not below its start.
        upper: a bound of `value` from above: at the step 2 / upper it was.
        evaluations: how many times the loss was evaluated.
    """

    value: float
    lower: float
    upper: float
    evaluations: int


def critical_sharpness(
    objective: Objective,
    parameters: Parameters,
    direction: Direction,
    *,
    first_step: float = 0.1,
    bisections: int = 2,
) -> CriticalSharpness:
    r"""The critical sharpness along a direction (Kalra et al. 2026, arXiv:2601.16979).

    .. math::
        \lambda_c = \frac{2}{\eta_c}, \qquad \eta_c = \min \{\eta > 0 : L(\theta - \eta d) \ge L(\theta)\}

    For a quadratic loss and its gradient g this is the curvature :math:`g^\top H g / g^\top g`, exactly. It needs
    no derivative, so it works with any kernel.

    The first step is doubled (or halved) until the loss is back at its start, and the bracket then bisected. Inside it
    :math:`(L(\theta - \eta d) - L(\theta)) / \eta` is taken as linear in :math:`\eta`, which it is for a quadratic
    loss: here we depart from the paper, which takes the bracket's end. Of several crossings the doubling may miss the
    first.

    Args:
        objective: the loss on one fixed batch, 0-d; NaN or infinity after a step counts as no decrease.
        parameters: :math:`\theta`.
        direction: d, the direction that a step is taken against: the gradient, or an optimizer's update.
        first_step: the first :math:`\eta` tried. With the last :math:`\eta_c` about 5 evaluations suffice.
        bisections: how many times the bracket is halved.

    Returns:
        The sharpness with its bracket. If no step is found at which the loss is back, value and lower bound are 0; if
        none at which it is lower, as along an ascent or a direction of 0, value and upper bound are infinite.

    Raises:
        ValueError: the loss is not finite before the step, `first_step` not positive or `bisections` negative.

    >>> import torch
    >>> loss = lambda p: 0.5 * (torch.tensor([1.0, 4.0]) * p["w"].square()).sum()
    >>> at = {"w": torch.tensor([0.0, 1.0])}
    >>> found = critical_sharpness(loss, at, direction={"w": torch.tensor([0.0, 4.0])})
    >>> f"{found.lower:.3g} <= {found.value:.3g} <= {found.upper:.3g} from {found.evaluations} evaluations"
    '4 <= 4 <= 5 from 7 evaluations'
    """
    check_number("first_step", first_step, above=0)
    check_number("bisections", bisections, at_least=0)
    line = _Line(objective, parameters, direction)
    low, high = _bracket(line, first_step)
    if low == 0:
        return CriticalSharpness(math.inf, 2 / high, math.inf, line.evaluations)
    if high == math.inf:
        return CriticalSharpness(0.0, 0.0, 2 / low, line.evaluations)
    for _ in range(bisections):
        middle = (low + high) / 2
        low, high = (middle, high) if line.slope(middle) < 0 else (low, middle)
    fall, rise = -line.slope(low), line.slope(high)
    step = low + (high - low) * fall / (fall + rise)
    return CriticalSharpness(2 / step, 2 / high, 2 / low, line.evaluations)


class _Line:
    """The loss along a direction."""

    def __init__(self, objective: Objective, parameters: Parameters, direction: Direction) -> None:
        self._objective, self._parameters, self._direction = objective, parameters, direction
        self._slopes: dict[float, float] = {}
        self._start = self._loss(0.0)
        if not math.isfinite(self._start):
            raise ValueError(message("objective", "finite at the parameters", self._start))

    @property
    def evaluations(self) -> int:
        return 1 + len(self._slopes)

    def slope(self, step: float) -> float:
        """(L(θ - ηd) - L(θ)) / η; infinite where the loss is not finite."""
        if step not in self._slopes:
            slope = (self._loss(step) - self._start) / step
            self._slopes[step] = slope if math.isfinite(slope) else math.inf
        return self._slopes[step]

    def _loss(self, step: float) -> float:
        return float(loss_at(self._objective, moved(self._parameters, (self._direction, -step))))


def _bracket(line: _Line, step: float) -> tuple[float, float]:
    """A step at which the loss is below its start and one at which it is not, by a factor of 2; or 0, or infinity."""
    factor = 2.0 if line.slope(step) < 0 else 0.5
    for _ in range(FARTHEST):
        before, step = step, step * factor
        if (line.slope(step) < 0) != (factor > 1):
            return min(before, step), max(before, step)
    return (step, math.inf) if factor > 1 else (0.0, step)
