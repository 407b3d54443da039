"""Penalties of quantisation-aware training: weights near the grid, roundings decided."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.checks import check_choice, check_number
from lightning_losses.functional.rounding import rounding_decision, rounding_error, sine_rounding
from lightning_losses.losses.base import UnaryLoss
from lightning_losses.losses.inputs import check_probabilities
from lightning_losses.reduction import Parts

SHAPES: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "absolute": (torch.abs, 1 / 2, 1 / 4),
    "square": (torch.square, 1 / 4, 1 / 12),
    "sine": (sine_rounding, 1.0, 1 / 2),
}
"""Formulas of the distance to the grid, with their greatest value and their mean over a step."""


class Rounding(UnaryLoss):
    r"""How far weights are from the grid they will be rounded to, with :math:`f = w/s - \operatorname{round}(w/s)`.

    For quantisation-aware training: weights that it has drawn to the grid lose nothing by rounding.

    Range [0, 1/2], [0, 1/4] or [0, 1]; reference 1/4, 1/12 or 1/2, what weights spread evenly over the steps of the
    grid score:

    - ``"absolute"``: the mean of :math:`|f|`, in [0, 1/2]; reference 1/4. The same pull however near the grid.
    - ``"square"``: the mean of :math:`f^2`, in [0, 1/4]; reference 1/12. Its pull ends on the grid.
    - ``"sine"``: the mean of :math:`\sin^2(\pi f)`, in [0, 1]; reference 1/2. Its pull ends on the grid and halfway
      between two points of it, and it is smooth there.

    Traps: raise its weight late, or the weights freeze where they started. Halfway between two points ``"absolute"``
    and ``"square"`` have a kink, and the gradient is that of one side; at 0 the gradient of ``"absolute"`` is 0. The
    scale gets no gradient. With one scale per channel divide by it first: ``Rounding()(weight / scales)``. From
    :math:`2^{23}` steps on, float32 has no digits left for :math:`f`: it is 0.

    Differs from others: the mean over weights, not the sum, so that it does not grow with the size of the model.

    Args:
        shape: ``"absolute"``, ``"square"`` or ``"sine"``.
        scale: :math:`s`, a step of the grid, above 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `shape` is none of them, or `scale` is not above 0.

    >>> import torch
    >>> Rounding(shape="absolute", scale=0.5)(torch.tensor([0.25, 1.0]))
    tensor(0.2500)
    """

    def __init__(self, *, shape: str = "absolute", scale: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.shape = check_choice("shape", shape, SHAPES)
        self._formula, self.upper, self.reference = SHAPES[shape]
        self.scale = check_number("scale", scale, above=0)

    def of(self, input: Tensor) -> Parts:
        """One value per weight."""
        return Parts(self._formula(rounding_error(input, self.scale)))


class RoundingDecision(UnaryLoss):
    r"""AdaRound's penalty of undecided roundings, the mean of :math:`1 - |2h - 1|^\beta`.

    Nagel et al., "Up or down? Adaptive rounding for post-training quantization", 2020. For weights that are quantised
    after training: each is rounded to :math:`s(\lfloor w/s \rfloor + h)` with a learned :math:`h` in [0, 1], which in
    the end has to be 0 or 1. A large :math:`\beta` leaves what is undecided alone; the paper goes from 20 down to 2
    during training: set the attribute `beta`. Range [0, 1]; reference :math:`\beta/(\beta + 1)`, that of an :math:`h`
    spread evenly.

    Trap: the gradient is 0 at :math:`h = 1/2`: the penalty decides nothing by itself. Its other losses must move
    :math:`h`.

    Differs from others: the mean over weights, not the sum.

    Args:
        beta: :math:`\beta`, at least 2; below, a derivative at 1/2 would be infinite.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: `beta` is below 2, or an input is out of [0, 1] (clamp the rectified sigmoid that it comes from).

    >>> import torch
    >>> RoundingDecision(beta=2.0)(torch.tensor([0.0, 0.5]))
    tensor(0.5000)
    """

    upper = 1.0

    def __init__(self, *, beta: float = 20.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.beta = check_number("beta", beta, at_least=2)

    def of(self, input: Tensor) -> Parts:
        """One value per rounding."""
        check_probabilities(input, "input")
        return Parts(rounding_decision(input, self.beta))

    def bounds(self, statistics: Tensor | None = None) -> Bounds:
        """From 0 to 1, with the reference of this `beta`; of a sum, its sign."""
        return super().bounds() if self.reduction == "sum" else Bounds(0.0, 1.0, self.beta / (self.beta + 1))
