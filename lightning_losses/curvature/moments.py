"""Mean and standard error of values that arrive one by one."""

import torch
from torch import Tensor

from lightning_losses.curvature.estimate import Estimate, Subject
from lightning_losses.numerics import widest


class Moments:
    """The running mean of independent values of one shape and its standard error (Welford 1962).

    >>> moments = Moments()
    >>> for value in (1.0, 2.0, 3.0):
    ...     moments.add(torch.tensor(value))
    >>> moments.mean, moments.standard_error
    (tensor(2., dtype=torch.float64), tensor(0.5774, dtype=torch.float64))
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, value: Tensor) -> None:
        """Take in one value, of the same shape as those before."""
        value = widest(value)
        if self.count == 0:
            self.mean, self._squares = torch.zeros_like(value), torch.zeros_like(value)
        self.count += 1
        before = value - self.mean
        self.mean = self.mean + before / self.count
        self._squares = self._squares + before * (value - self.mean)

    @property
    def standard_error(self) -> Tensor:
        """Of the mean; NaN after a single value, which says nothing of its error."""
        if self.count < 2:
            return torch.full_like(self.mean, torch.nan)
        return (self._squares / (self.count - 1) / self.count).sqrt()

    def reached(self, relative_error: float) -> bool:
        """Whether every standard error is within this share of its mean's magnitude."""
        return bool((self.standard_error <= relative_error * self.mean.abs()).all())

    def estimate(self, of: Subject) -> Estimate:
        """The mean as an estimate."""
        return Estimate(self.mean, self.standard_error, self.count, of)
