"""The neighbourhood that an attack may move an input in, in one norm or another."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_losses.numerics import safe_divide


@dataclass(frozen=True)
class Ball(ABC):
    """All inputs within a distance of others, sample by sample.

    Args:
        centre: inputs [N, *], in float32 or wider.
        radius: the distance, at least 0.
    """

    centre: Tensor
    radius: float

    @abstractmethod
    def draw(self, generator: torch.Generator | None) -> Tensor:
        """Points drawn evenly from the ball."""

    @abstractmethod
    def steepest(self, slope: Tensor) -> Tensor:
        """The step of length 1 along which a function of this gradient grows most; 0 where the gradient is 0."""

    @abstractmethod
    def project(self, point: Tensor) -> Tensor:
        """The nearest points of the ball."""

    def _random(self, shape: torch.Size, generator: torch.Generator | None, normal: bool = False) -> Tensor:
        device = self.centre.device if generator is None else generator.device
        draw = torch.randn if normal else torch.rand
        return draw(shape, generator=generator, device=device).to(self.centre)


class MaxBall(Ball):
    """No number changes by more than the radius.

    >>> MaxBall(torch.zeros(1, 2), 0.5).project(torch.tensor([[2.0, 0.1]]))
    tensor([[0.5000, 0.1000]])
    """

    def draw(self, generator: torch.Generator | None) -> Tensor:
        """Each number for itself."""
        return self.project(self.centre + self.radius * (2 * self._random(self.centre.shape, generator) - 1))

    def steepest(self, slope: Tensor) -> Tensor:
        """Its signs."""
        return slope.sign()

    def project(self, point: Tensor) -> Tensor:
        """Each number for itself, so that no difference exceeds the radius by its last bit."""
        point = point.clamp(self.centre - self.radius, self.centre + self.radius)
        outside = (point - self.centre).abs() > self.radius  # the limits were rounded
        return torch.where(outside, point.nextafter(self.centre), point)


class EuclideanBall(Ball):
    """No sample changes by a vector longer than the radius.

    >>> EuclideanBall(torch.zeros(1, 2), 0.5).project(torch.tensor([[3.0, 4.0]]))
    tensor([[0.3000, 0.4000]])
    """

    def draw(self, generator: torch.Generator | None) -> Tensor:
        """A direction and a distance: of D dimensions, a ball of half the radius holds the share 1 / 2^D."""
        direction = self.steepest(self._random(self.centre.shape, generator, normal=True))
        volume = self._random(self.centre.shape[:1], generator).reshape(-1, *[1] * (self.centre.dim() - 1))
        dimensions = math.prod(self.centre.shape[1:])
        return self.project(self.centre + self.radius * volume.pow(1 / dimensions) * direction)

    def steepest(self, slope: Tensor) -> Tensor:
        """Of length 1; the gradient is scaled before, since the squares of a small one would vanish."""
        scaled = safe_divide(slope, _lengths(slope, math.inf))
        return safe_divide(scaled, _lengths(scaled))

    def project(self, point: Tensor) -> Tensor:
        """Along the radius, up to rounding."""
        change = point - self.centre
        length = _lengths(change)
        return torch.where(length > self.radius, self.centre + self.radius * safe_divide(change, length), point)


BALLS: dict[str, type[Ball]] = {"linf": MaxBall, "l2": EuclideanBall}
"""By the name of the norm."""


def _lengths(vectors: Tensor, order: float = 2) -> Tensor:
    """The norm of each sample, with axes of length 1 in the place of the others."""
    lengths: Tensor = torch.linalg.vector_norm(vectors.unsqueeze(-1).flatten(1), order, 1)
    return lengths.reshape(-1, *[1] * (vectors.dim() - 1))
