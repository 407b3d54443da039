"""A running estimate of a quantity that drifts, from noisy measurements at irregular times, with a band."""

import math
import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor

DRIFTS = torch.cat([torch.zeros(1), torch.logspace(-6, -0.5, 12)]).double()
"""Variance of one step's drift, in units of the measurement variance."""
STATED = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
"""What the stated measurement variance may have to be multiplied by."""
LEAST_NOISE = 1e-4
"""Relative variance that even an exact measurement is taken to have: with none, no drift could be told from noise."""
UNSTATED = torch.logspace(-2, 2, 9).double()
"""The same where none is stated, and 10 % of the first value stands for the standard error."""
FORGETTING = 0.98
"""Of what earlier measurements said about the drift: a training drifts at different speeds in its course."""
POOLING = 0.9
"""Of the measurement variance."""
MOST = math.log(sys.float_info.max)
"""What can be taken to the power of e."""


class Band(NamedTuple):
    """A value and the limits between which it lies with a probability of 95 %."""

    value: float
    lower: float
    upper: float


class LocalLevel:
    r"""A local-level model (a random walk seen through noise), filtered without knowing how fast it walks.

    .. math::
        x_t = x_{t-1} + \eta_t,\quad \eta_t \sim \mathcal N(0, q\,s\,r\,\Delta_t), \qquad
        y_t = x_t + \varepsilon_t,\quad \varepsilon_t \sim \mathcal N(0, s\,r)

    y_t is a measurement, :math:`\Delta_t` the steps since the last one, r the measurement variance, pooled over past
    measurements. Kalman filters (Kalman 1960) for a grid of drifts q and of noises s run side by side, and each weighs
    as much as its predictions were right. The mixture's variance then holds what a smoothed curve leaves out: that the
    quantity has moved since, and that it is not known by how much.

    The variance is pooled because of skewed data: a batch with an outlier has a large value and a large standard
    error, and weighing it less for that would bias the estimate downwards.

    Positive quantities are followed on the logarithmic scale, where a drift is relative, as drifts of curvature are;
    :math:`\log y_t + r/2` corrects for the mean of a logarithm.

    Args:
        positive: whether the quantity is positive. A measurement that is not is then left out.
        stated: whether measurements come with standard errors; otherwise the noise is found from the measurements too.

    >>> level = LocalLevel(positive=True)
    >>> for step in range(50):
    ...     level.add(100.0 + (-1) ** step, standard_error=1.0, step=step)
    >>> value, lower, upper = level.band(step=50)
    >>> 99 < lower < value < upper < 101
    True
    """

    def __init__(self, positive: bool, stated: bool = True) -> None:
        self.positive = positive
        self.noises = STATED if stated else UNSTATED
        shape = (len(DRIFTS), len(self.noises))
        self.means = torch.zeros(shape, dtype=torch.float64)
        self.variances = torch.zeros(shape, dtype=torch.float64)
        self.log_weights = torch.zeros(shape, dtype=torch.float64)
        self.noise = math.nan
        self.step = -1

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured yet."""
        return self.step < 0

    def add(self, value: float, standard_error: float | None, step: int) -> None:
        """Take in a measurement with its standard error, if that is stated, at a step not before the last one's."""
        if not math.isfinite(value) or (self.positive and value <= 0):
            return
        if standard_error is not None:
            if not math.isfinite(standard_error):
                return
            scale = 1.0 if self.positive else value**2
            noise = max((standard_error / value if self.positive else standard_error) ** 2, LEAST_NOISE * scale)
            self.noise = noise if self.is_empty else POOLING * self.noise + (1 - POOLING) * noise
        elif self.is_empty:
            self.noise = (0.1 if self.positive else 0.1 * value) ** 2
        measured = math.log(value) + self.noise / 2 if self.positive else value
        if self.is_empty:
            self.means.fill_(measured)
            self.variances[:] = self.noise * self.noises
        else:
            self._filter(measured, step)
        self.step = step

    def band(self, step: int) -> Band:
        """The value at a step not before the last measurement's; NaN before the first."""
        if self.is_empty:
            return Band(math.nan, math.nan, math.nan)
        weights = self.log_weights.flatten().softmax(0)
        means, variances = self.means.flatten(), self._predicted(step).flatten()
        mean = weights @ means
        deviation = float((weights @ (variances + (means - mean).square())).sqrt())
        limits = [float(mean), float(mean) - 1.96 * deviation, float(mean) + 1.96 * deviation]
        return Band(*(_exp(limit) if self.positive else limit for limit in limits))

    def _predicted(self, step: int) -> Tensor:
        return self.variances + DRIFTS[:, None] * self.noise * self.noises * max(0, step - self.step)

    def _filter(self, measured: float, step: int) -> None:
        prior, noise = self._predicted(step), self.noise * self.noises
        total = (prior + noise).clamp_min(torch.finfo(torch.float64).tiny)
        surprise = measured - self.means
        log_likelihood = -0.5 * (total.log() + surprise.square() / total)
        self.log_weights = FORGETTING * self.log_weights + log_likelihood
        self.log_weights -= self.log_weights.max()
        gain = prior / total
        self.means = self.means + gain * surprise
        self.variances = (1 - gain) * prior

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        vars(self).update(state)


def _exp(limit: float) -> float:
    """Infinite where a value that has jumped by orders of magnitude leaves a band that no float can hold."""
    return math.exp(limit) if limit < MOST else math.inf
