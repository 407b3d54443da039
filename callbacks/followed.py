"""A kind of measurement that is made on fresh batches when it is due, and followed through the training."""

import math
from typing import Any, NamedTuple, Protocol

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_losses.callbacks.clock import Clock
from lightning_losses.callbacks.measuring_schedule import MeasuringSchedule
from lightning_losses.callbacks.replay import Replay
from lightning_losses.callbacks.stand_ins import NoLossError
from lightning_losses.curvature.local_level import Band, LocalLevel
from lightning_losses.distributed import sum_over_ranks, world_size
from lightning_losses.numerics import widest


class Found(NamedTuple):
    """What one look at one batch has found.

    Args:
        values: [S], in the order of the probe's names; NaN for what could not be found.
        errors: their standard errors, [S]; NaN where none is known, and the noise is found from the measurements.
    """

    values: Tensor
    errors: Tensor


class Probe(Protocol):
    """Looks at one batch at a time."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of what it finds, the same on all ranks."""

    @property
    def cost(self) -> float:
        """About what a look costs, in training steps."""

    @property
    def positive(self) -> frozenset[str]:
        """Those among them that are positive by nature."""

    def measure(self, replay: Replay, generator: torch.Generator) -> Found:
        """Look at the batch of `replay`; the generator draws the same on all ranks."""


class Followed:
    """A probe, the schedule by which it looks, and the running estimates of what it has found.

    Under DDP every rank looks at its own batch. The Hessian of the mean loss is the mean of the ranks' Hessians, and so
    are their traces: one collective of a short vector is all that is exchanged, with the account of the schedule in it.

    Args:
        probe: what looks.
        schedule: when.

    Attributes:
        levels: the running estimates, by name.
        latest: what the last look has found: values and standard errors, by name.
    """

    def __init__(self, probe: Probe, schedule: MeasuringSchedule) -> None:
        self.probe = probe
        self.schedule = schedule
        self.levels: dict[str, LocalLevel] = {}
        self.latest: dict[str, tuple[float, float]] = {}

    def look(self, replay: Replay, generator: torch.Generator, clock: Clock, step: int) -> None:
        """Look at a batch on every rank, and take in what all have found: nothing on a rank without a finite loss."""
        start = clock.mark()
        try:
            found = self.probe.measure(replay, generator)
        except (NoLossError, FloatingPointError) as error:
            rank_zero_warn(f"The curvature at step {step} was not measured: {error}")
            nothing = torch.full((len(self.probe.names),), math.nan, device=generator.device)
            found = Found(nothing, nothing)
        clock.tell(start, clock.mark(), self.schedule.measured)
        mean, errors, account = _exchange(found, self.schedule.account(), generator.device)
        self.schedule.settle(*account)
        self.latest = dict(zip(self.probe.names, zip(mean, errors, strict=True), strict=True))
        for name, (value, its_error) in self.latest.items():
            stated = not math.isnan(its_error)
            level = self.levels.setdefault(name, LocalLevel(name in self.probe.positive, stated))
            level.add(value, its_error if stated else None, step)

    def bands(self, step: int) -> dict[str, Band]:
        """Where everything stands that was found at least once."""
        return {name: level.band(step) for name, level in self.levels.items() if not level.is_empty}

    def state_dict(self) -> dict[str, Any]:
        """The running estimates and the schedule."""
        levels = {name: level.state_dict() for name, level in self.levels.items()}
        return {"levels": levels, "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.schedule.load_state_dict(state["schedule"])
        for name, level in state["levels"].items():
            self.levels[name] = LocalLevel(positive=False)
            self.levels[name].load_state_dict(level)


def _exchange(found: Found, account: list[float], device: torch.device) -> tuple[list[float], list[float], list[float]]:
    """The means over ranks of values and account, and the standard errors of the means."""
    values, errors = widest(found.values.to(device)), widest(found.errors.to(device))
    seen = ~values.isnan()
    own = [seen.to(values), values.nan_to_num(), errors.square().masked_fill(~seen, 0.0)]
    shares = torch.tensor(account, dtype=values.dtype).to(device) / world_size()
    sums = sum_over_ranks(torch.cat([*own, shares])).cpu()
    count, total, squares = sums[: 3 * len(values)].view(3, -1)
    return (total / count).tolist(), (squares.sqrt() / count).tolist(), sums[3 * len(values) :].tolist()
