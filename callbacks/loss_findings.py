"""Values that no loss may take: said, written down, and the batch kept if it is asked for."""

import json
import math
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_losses.bounds import Bounds
from lightning_losses.replacing import replacing

TOLERANCE = 1e-5
"""Relative: what rounding in float32 may push a value below its bound."""


class Where(NamedTuple):
    """The place of a batch in the training, as `Finding` has it."""

    step: int
    batch_idx: int
    epoch: int
    rank: int


@dataclass(frozen=True)
class Finding:
    """What was wrong with one value of one loss.

    Args:
        kind: ``"nonfinite"`` or ``"below_bound"``.
        term: its name.
        value: the value.
        step: the optimizer step that the batch was meant for, as loggers count, from 0.
        batch_idx: the index of the batch in its epoch, on this rank.
        epoch: the epoch.
        rank: the rank that had it.
        text: one sentence.
    """

    kind: str
    term: str
    value: float
    step: int
    batch_idx: int
    epoch: int
    rank: int
    text: str


def kind_of(value: float, lower: float) -> str | None:
    """What is wrong with a value; None if nothing is.

    >>> kind_of(0.5, 0.0), kind_of(-0.5, 0.0), kind_of(float("nan"), 0.0)
    (None, 'below_bound', 'nonfinite')
    """
    if not math.isfinite(value):
        return "nonfinite"
    return "below_bound" if value < lower - TOLERANCE * max(1.0, abs(lower)) else None


class FindingsFolder:
    """Keeps every finding as a line of ``findings-rank<r>.jsonl``, and the batch of the first of a term and kind.

    Args:
        folder: where; it is made with the first finding.
        save_batch: whether to keep batches: ``<kind>-<term>-step<s>-batch<b>-rank<r>.pt``, for `torch.load`.
    """

    def __init__(self, folder: Path, save_batch: bool) -> None:
        self.folder = folder
        self.save_batch = save_batch
        self.findings: list[Finding] = []
        self._known: set[tuple[str, str]] = set()

    def check(self, where: Where, bounds: Sequence[tuple[str, Bounds]], batch: Any, values: Sequence[float]) -> None:
        """Look at the values of one batch.

        A bound that was estimated from data, a tensor, is no limit for the value of one batch.

        Args:
            where: the place of the batch.
            bounds: the name and the bounds of every value.
            batch: the batch.
            values: the values.
        """
        for (name, its), value in zip(bounds, values, strict=True):
            lower = -math.inf if isinstance(its.lower, Tensor) else its.lower
            kind = kind_of(value, lower)
            if kind is not None:
                rule = "finite" if kind == "nonfinite" else f"at least its lower bound {lower:g}"
                text = f"Loss {name!r} must be {rule}, found {value:g} at step {where.step}, batch {where.batch_idx}."
                self._add(Finding(kind, name, value, *where, text), batch)

    def _add(self, finding: Finding, batch: Any) -> None:
        """Write it down; warn of the first of a term and kind, and keep its batch."""
        self.findings.append(finding)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"findings-rank{finding.rank}.jsonl").open("a") as lines:
            lines.write(json.dumps(asdict(finding)) + "\n")
        if (finding.kind, finding.term) not in self._known:
            self._known.add((finding.kind, finding.term))
            if self.save_batch:
                self._save(finding, batch)
            warnings.warn(f"{finding.text} See {self.folder}.")

    def _save(self, finding: Finding, batch: Any) -> None:
        """Whole or not at all: a run that met a NaN may be killed the next moment."""
        term = re.sub(r"[^\w.-]", "_", finding.term)
        name = f"{finding.kind}-{term}-step{finding.step}-batch{finding.batch_idx}-rank{finding.rank}.pt"
        with replacing(self.folder / name) as part, part.open("wb") as stream:
            torch.save({"finding": asdict(finding), "batch": batch}, stream)
            stream.flush()
            os.fsync(stream.fileno())
