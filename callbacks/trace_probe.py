"""The trace of the Hessian or of the Gauss-Newton matrix of one batch, by the cheapest way that a network allows."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_losses.callbacks.compatibility import IncompatibleError, loss_modules
from lightning_losses.callbacks.followed import Found
from lightning_losses.callbacks.layer_groups import LayerGroups
from lightning_losses.callbacks.over_ranks import own_generator
from lightning_losses.callbacks.replay import Replay
from lightning_losses.curvature.columns import Columns
from lightning_losses.curvature.estimate import Estimate
from lightning_losses.curvature.gathering import ShardedError
from lightning_losses.curvature.ggn_trace import GaussNewtonTrace
from lightning_losses.curvature.loss_calls import NoLikelihoodError
from lightning_losses.curvature.residual import residual_trace
from lightning_losses.curvature.trace import hutchinson_trace
from lightning_losses.curvature.twice import twice

Series = tuple[Sequence[str], Tensor, Tensor]
"""Names, values and standard errors; NaN for an error that is not known."""


class TraceProbe:
    """Finds at the first batch how the trace can be had, says so, and has it from every further one.

    Args:
        matrix: ``"auto"``, ``"Hessian"`` or ``"GGN"``.
        groups: the layers.
        model: the model.
        per_term: whether to tell the terms of its LossModules apart.
    """

    cost = 4.0

    def __init__(self, matrix: str, groups: LayerGroups, model: LightningModule, per_term: bool) -> None:
        self.matrix = matrix
        self.per_term = per_term
        names = {id(p): name for name, p in model.named_parameters()}
        self._groups = {group: [names[id(p)] for p in ps] for group, ps in groups.split(model.parameters()).items()}
        terms = [f"term/{name}" for criterion in loss_modules(model) for name in criterion.terms] if per_term else []
        self.names = tuple(
            f"trace/{name}" for name in (*Columns(self._groups, layer_normalized=True).names, *dict.fromkeys(terms))
        )
        self.positive: frozenset[str] = frozenset()
        self.is_hessian = True
        self._way: Callable[[Replay, torch.Generator], Series] | None = None

    def measure(self, replay: Replay, generator: torch.Generator) -> Found:
        """Look at one batch.

        Raises:
            IncompatibleError: the matrix that is asked for cannot be measured here; the message says why.
        """
        try:
            names, values, errors = self._look(replay, generator)
        except ShardedError as error:
            raise IncompatibleError(f"HessianTraceMonitor cannot work under ModelParallelStrategy: {error}") from error
        found = dict(zip(names, zip(values.tolist(), errors.tolist(), strict=True), strict=True))
        both = [found.get(name.removeprefix("trace/"), (math.nan, math.nan)) for name in self.names]
        return Found(*torch.tensor(both, dtype=torch.float64).unbind(1))

    def _look(self, replay: Replay, generator: torch.Generator) -> Series:
        if self._way is None:
            self._way = self._choose(replay)
        try:
            return self._way(replay, generator)
        except NoLikelihoodError:  # a term that has come later, a penalty that has started
            self._way = self._choose(replay)
            return self._way(replay, generator)

    def _choose(self, replay: Replay) -> Callable[[Replay, torch.Generator], Series]:
        """The cheapest way, and a line that says which it is."""
        parameters = replay.parameters
        groups = {g: kept for g, names in self._groups.items() if (kept := [n for n in names if n in parameters])}
        tracer = GaussNewtonTrace(replay.model, groups, layer_normalized=True)
        try:
            plan = tracer.plan(replay, parameters)
        except NoLikelihoodError as error:
            if self.matrix == "GGN":
                raise IncompatibleError(f'HessianTraceMonitor(matrix="GGN") cannot work: {error}') from error
            if replay.is_sharded:
                raise ShardedError(f"Hutchinson's probes need them, which are the only way: {error}") from error
            _say(f"Tr H, by Hutchinson's probes: {error}")
            return partial(self._hutchinson, tracer.columns)
        if replay.is_sharded and plan.others:
            raise ShardedError(f"No formula gives the norms of single samples at {', '.join(plan.others[:3])}.")
        if plan.certificate.holds and self.matrix != "GGN":
            _say("Tr H, by per-sample probes of the Gauss-Newton matrix: this network's traces are equal.")
        elif self.matrix == "Hessian":
            _say("Tr H, by per-sample probes of the Gauss-Newton matrix and Hutchinson's of the rest.")
            return partial(self._with_residual, tracer)
        else:
            self.is_hessian = False
            why = "; ".join(plan.certificate.reasons[:2])
            _say(f"the trace of the Gauss-Newton matrix{f', which is not Tr H here: {why}' if why else ''}.")
        if plan.is_convex:
            self.positive = frozenset(self.names)
        return partial(self._gauss_newton, tracer)

    def _gauss_newton(self, tracer: GaussNewtonTrace, replay: Replay, generator: torch.Generator) -> Series:
        found = tracer.estimate(replay, replay.parameters, by_term=self.per_term, generator=own_generator(generator))
        return found.names, found.value, found.population_error

    def _with_residual(self, tracer: GaussNewtonTrace, replay: Replay, generator: torch.Generator) -> Series:
        """Terms are those of the Gauss-Newton matrix alone, so they are left out."""
        names, values, _ = self._gauss_newton(tracer, replay, generator)
        rest = _checked(residual_trace, replay, tracer.columns, generator, probes=1)
        known = values[: len(rest)] + rest.to(values)
        return names[: len(known)], known, torch.full_like(known, math.nan)

    def _hutchinson(self, columns: Columns, replay: Replay, generator: torch.Generator) -> Series:
        values = _checked(hutchinson_trace, replay, columns, generator, probes=2)
        return columns.names, values, torch.full_like(values, math.nan)


def _checked(
    estimator: Callable[..., Estimate], replay: Replay, columns: Columns, generator: torch.Generator, probes: int
) -> Tensor:
    """An estimator that differentiates twice, by column."""
    parameters = replay.parameters
    weights = torch.stack(list(columns.weights(parameters).values()))
    each = [[name] for name in parameters]
    try:
        traces = estimator(twice(replay), parameters, probes=probes, groups=each, generator=generator).value
    except RuntimeError as error:
        raise IncompatibleError(f"HessianTraceMonitor cannot measure this network's Hessian: {error}") from error
    return traces.to(weights) @ weights


def _say(what: str) -> None:
    rank_zero_info(f"HessianTraceMonitor logs {what}")
