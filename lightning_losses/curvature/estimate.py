"""What an estimate of curvature is: a value, its standard error, and of what."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Parameters = Mapping[str, Tensor]
"""Parameters by name, as `named_parameters` gives them."""

Direction = Mapping[str, Tensor]
"""A vector in the space of the parameters: a tensor of the same shape for each."""

Objective = Callable[[Parameters], Tensor]
"""A loss on one fixed batch as a function of the parameters: a 0-d tensor with a graph, the same at every call."""


@dataclass(frozen=True)
class Subject:
    """What was measured.

    Args:
        matrix: the Hessian of the loss, or its generalised Gauss-Newton matrix (GGN).
        mode: ``"eval"`` or ``"train"``: whether normalisation layers use their running statistics or the batch's. With
            BatchNorm the two differ by a factor, not by a nuance.
        batch: which data, in words.
    """

    matrix: Literal["Hessian", "GGN"] = "Hessian"
    mode: Literal["eval", "train"] = "eval"
    batch: str = "one batch"


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error.

    Args:
        value: the estimate, 0-d or by layer group [G], in float64 (float32 on devices without it).
        standard_error: of the same shape; 0 for what is exact. It covers the noise of the probes for the given batch,
            unless the function that returned it says more.
        probes: how many random vectors were used.
        of: what was measured.
    """

    value: Tensor
    standard_error: Tensor
    probes: int
    of: Subject

    def __str__(self) -> str:
        values = f"{float(self.value.sum()):.4g} ± {float(self.standard_error.square().sum().sqrt()):.2g}"
        return f"{values} ({self.of.matrix}, {self.of.mode} mode, {self.of.batch}, {self.probes} probes)"
