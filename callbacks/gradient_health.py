"""Which layers' gradients are not finite, explode or vanish."""

import math
from collections.abc import Sequence

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

DECAY = 0.95
NAMED = 5
"""How many layers a warning names."""


class GradientHealth:
    """Compares the norms of one optimizer's layer groups with each other and with their own past, and warns once.

    Args:
        vanishing: a group vanishes whose root mean square is below this times that of the group with the largest.
        exploding: a group explodes whose norm is above this times its running geometric mean.
    """

    def __init__(self, vanishing: float, exploding: float) -> None:
        self.vanishing = vanishing
        self.exploding = exploding
        self.log_means: dict[str, float] = {}
        self._warned: set[tuple[str, str]] = set()

    def look(self, names: Sequence[str], norms: Tensor, sizes: Sequence[int], step: int, tolerant: bool) -> None:
        """Take in the norms of one step.

        Args:
            names: of the groups.
            norms: of their gradients, [G], on the host.
            sizes: the number of elements in each group.
            step: named in warnings.
            tolerant: whether something else, a GradScaler, takes care of steps that are not finite.
        """
        sick = [(name, norm) for name, norm in zip(names, norms.tolist(), strict=True) if not math.isfinite(norm)]
        if sick:
            if not tolerant:
                self._warn_of_nonfinite(sick, step)
            return
        rms = norms / torch.tensor(sizes).sqrt()
        for name, norm, relative in zip(names, norms.tolist(), (rms / rms.max()).tolist(), strict=True):
            self._look_at(name, norm, relative, step)

    def _look_at(self, name: str, norm: float, relative: float, step: int) -> None:
        if relative < self.vanishing:
            text = f"vanishes at step {step}: its root mean square is {relative:.1e} of the largest layer's"
            self._warn("vanishing", name, f"The gradient of layer {name!r} {text}.")
        if norm == 0:
            return
        mean = self.log_means.setdefault(name, math.log(norm))
        if math.log(norm) > mean + math.log(self.exploding):
            text = f"explodes at step {step}: its norm is {norm:.3g}, its running mean was {math.exp(mean):.3g}"
            self._warn("exploding", name, f"The gradient of layer {name!r} {text}.")
        self.log_means[name] = DECAY * mean + (1 - DECAY) * math.log(norm)

    def _warn_of_nonfinite(self, sick: Sequence[tuple[str, float]], step: int) -> None:
        """Once in all: the step after, the infinity may be everywhere, and only the first tells where it came from."""
        found = [f"{norm} in layer {name!r}" for name, norm in sick[:NAMED]]
        more = f" and {len(sick) - NAMED} more" if len(sick) > NAMED else ""
        self._warn("nonfinite", "", f"The gradient is not finite at step {step}: its norm is {', '.join(found)}{more}.")

    def _warn(self, kind: str, name: str, text: str) -> None:
        if (kind, name) not in self._warned:
            self._warned.add((kind, name))
            rank_zero_warn(text)
