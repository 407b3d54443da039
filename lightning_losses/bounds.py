"""The range that a loss can take, and normalising a value by it."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Bounds:
    r"""The range of a loss and the value of a predictor that knows nothing.

    Losses of different tasks cannot be compared raw: a cross-entropy of 2.3 over ten classes and a mean squared
    error of 2.3 on pixels say nothing about each other. Their normalised values do:

    .. math:: \tilde L = \frac{L - \text{lower}}{\text{reference} - \text{lower}}

    0 is perfect, 1 is knowing nothing, above 1 is worse than knowing nothing. The reference is **not** an upper
    bound: a confidently wrong classifier scores far above it.

    Args:
        lower: the attainable infimum.
        upper: the supremum; may be infinite.
        reference: what an uninformed predictor scores (log C for cross-entropy, Var(y) for squared error), or None
            where there is no such value. A 0-d tensor where it was estimated from data, so that no device sync is
            needed to know it.

    Raises:
        ValueError: `upper` is below `lower`.

    >>> import math
    >>> bounds = Bounds(lower=0.0, reference=math.log(10))
    >>> bounds.normalize(math.log(10) / 2)
    0.5
    """

    lower: float | Tensor = 0.0
    upper: float | Tensor = math.inf
    reference: float | Tensor | None = None

    def __post_init__(self) -> None:
        if isinstance(self.lower, float) and isinstance(self.upper, float) and self.upper < self.lower:
            raise ValueError(f"`upper` must be at least `lower`={self.lower:g}, found {self.upper:g}.")

    def normalize(self, value: float | Tensor) -> float | Tensor | None:
        """(value - lower) / (reference - lower), or None where there is no reference.

        Args:
            value: a loss, a number or a tensor of any shape.

        Returns:
            The same type and shape as `value`.
        """
        if self.reference is None:
            return None
        return (value - self.lower) / (self.reference - self.lower)

    def scaled(self, weight: float | Tensor) -> "Bounds":
        """The bounds of `weight` times the loss, for a weight of at least 0. What is infinite stays so.

        >>> Bounds(1.0, math.inf, 2.0).scaled(3.0)
        Bounds(lower=3.0, upper=inf, reference=6.0)
        """
        return Bounds(
            _scaled(self.lower, weight),
            _scaled(self.upper, weight),
            None if self.reference is None else self.reference * weight,
        )

    def plus(self, other: "Bounds") -> "Bounds":
        """The bounds of the sum of two losses: attained if both can be at their best together.

        >>> Bounds(1.0, 2.0, 1.5).plus(Bounds(0.0, 1.0))
        Bounds(lower=1.0, upper=3.0, reference=None)
        """
        reference = None
        if self.reference is not None and other.reference is not None:
            reference = self.reference + other.reference
        return Bounds(self.lower + other.lower, self.upper + other.upper, reference)


def _scaled(limit: float | Tensor, weight: float | Tensor) -> float | Tensor:
    return limit if isinstance(limit, float) and math.isinf(limit) else limit * weight
