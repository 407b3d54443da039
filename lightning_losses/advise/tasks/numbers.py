"""Targets that are numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_losses.advise import evidence, inputs, rules
from lightning_losses.advise.evidence.numbers import Numbers
from lightning_losses.advise.proposal import Proposal
from lightning_losses.checks import message


def regression(
    targets: Any, predictions: Any = None, intervals: Sequence[float] | None = None
) -> tuple[Numbers, Proposal]:
    """Numbers [N] or [N, D]."""
    given = inputs.array("targets", targets).astype(float)
    if given.ndim not in (1, 2):
        raise ValueError(message("targets", "of shape [N] or [N, D]", given.shape))
    guesses = None
    if predictions is not None:
        guesses = inputs.array("predictions", predictions).astype(float)
        if guesses.shape != given.shape:
            raise ValueError(message("predictions", f"of the shape {given.shape} of the targets", guesses.shape))
        guesses = guesses.reshape(len(given), -1)
    seen = evidence.numbers.look(np.reshape(given, (len(given), -1)), guesses)
    return seen, rules.numbers.regression(seen, inputs.levels(intervals) if intervals is not None else None)
