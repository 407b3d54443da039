"""Where the losses of a batch come from: reports of LossModules, logged values, and what `training_step` returns."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.callbacks.listening import full_name
from lightning_losses.callbacks.loss_sums import Seen
from lightning_losses.checks import nearest
from lightning_losses.module import LossModule
from lightning_losses.report import Report
from lightning_losses.term import Term

RETURNED = "loss"
"""The name of the loss that `training_step` returns."""


class LossSources:
    """All losses of a model with their bounds.

    Args:
        criteria: its LossModules by path.
        bounds: of losses outside of them, by name. Without LossModules and bounds, the returned loss has none.
    """

    def __init__(self, criteria: Mapping[str, LossModule], bounds: Mapping[str, Bounds]) -> None:
        self._criteria = criteria
        self._others = bounds if criteria or bounds else {RETURNED: Bounds(-math.inf)}
        self._before: dict[str, Report | None] = {}

    def begin(self) -> None:
        """Before a batch: note which reports are of earlier ones."""
        self._before = {path: _report(criterion) for path, criterion in self._criteria.items()}

    def term_bounds(self) -> dict[str, Bounds]:
        """The bounds of the terms of LossModules, in an order that is the same on all ranks."""
        return {
            full_name(path, name): cast(Term, term).bounds()
            for path, criterion in self._criteria.items()
            for name, term in criterion.terms.items()
        }

    def bounds(self) -> dict[str, Bounds]:
        """The bounds of all losses, those of terms first."""
        return self.term_bounds() | dict(self._others)

    def see(self, trainer: Trainer, outputs: Any) -> Seen:
        """The losses of the batch.

        Args:
            trainer: the Trainer.
            outputs: what it says that `training_step` has returned.

        Raises:
            ValueError: a loss that has bounds is not logged.
        """
        return {**self._see_terms(), **self._see_others(trainer, outputs)}

    def _see_terms(self) -> Seen:
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        for path, criterion in self._criteria.items():
            report = _report(criterion)
            if report is not None and report is not self._before.get(path):
                seen |= {full_name(path, term): (value, report.weights[term]) for term, value in report.raw.items()}
        return seen

    def _see_others(self, trainer: Trainer, outputs: Any) -> Seen:
        values: dict[str, Any] = dict(trainer.callback_metrics) if self._others.keys() - {RETURNED} else {}
        returned = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(returned, Tensor):
            automatic = trainer.lightning_module.automatic_optimization
            values[RETURNED] = returned.detach() * (trainer.accumulate_grad_batches if automatic else 1)
        for name in self._others:
            if name not in values and name != RETURNED:
                raise ValueError(
                    f"`bounds` must name losses that are logged in every step, found {name!r}. {nearest(name, values)}"
                )
        return {name: (values[name], torch.ones_like(values[name])) for name in self._others if name in values}


def _report(criterion: LossModule) -> Report | None:
    with suppress(RuntimeError):
        return criterion.report
    return None
