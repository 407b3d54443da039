"""The trace of the Gauss-Newton matrix from one backward, by per-sample probes at the outputs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lightning_losses.checks import check_number
from lightning_losses.curvature.certificate import Certificate, certify
from lightning_losses.curvature.checkpointing import keeping_activations
from lightning_losses.curvature.columns import Columns
from lightning_losses.curvature.estimate import Estimate, Objective, Parameters, Subject
from lightning_losses.curvature.graph import consumers
from lightning_losses.curvature.loss_calls import record_loss_calls
from lightning_losses.curvature.loss_hessian import factors
from lightning_losses.curvature.moments import Moments
from lightning_losses.curvature.products import checked_loss, leaves, recording
from lightning_losses.curvature.sample_layers import Layers, Outputs, eligible, layers_of, listening
from lightning_losses.curvature.sample_pass import SamplePass, Source, Squares


@dataclass(frozen=True)
class GaussNewtonEstimate(Estimate):
    """Traces of a Gauss-Newton matrix, [S].

    Args:
        names: ``"total"``, the groups, ``"layer_normalized"`` if asked for, and the terms as ``"term/<term>"``.
        population_error: standard error as an estimate for the population that the batch was drawn from, noise of the
            probes included, [S]; NaN where a part of the estimate has no values by sample.
    """

    names: tuple[str, ...]
    population_error: Tensor


@dataclass(frozen=True)
class Plan:
    """What a network's graph has told.

    Args:
        layers: those whose parameters' gradients are taken by sample.
        others: the parameters whose gradients are taken whole.
        certificate: whether the trace is that of the Hessian too.
        is_convex: whether the loss was convex in the outputs, so that no trace is negative.
    """

    layers: Layers
    others: tuple[str, ...]
    certificate: Certificate
    is_convex: bool


class GaussNewtonTrace:
    r"""Estimates the trace of the Gauss-Newton matrix of one network's loss, again and again.

    .. math::
        G = \sum_n J_n^\top H_n J_n, \qquad
        \operatorname{Tr} G = \mathbb E \sum_n \lVert J_n^\top S_n \epsilon_n \rVert^2, \qquad S_n S_n^\top = H_n

    with :math:`J_n` the Jacobian of sample n's outputs, :math:`H_n` the loss's Hessian in them and
    :math:`\epsilon_n` random signs. A probe is one backward that starts from :math:`S_n \epsilon_n` instead of the
    loss's gradient. Norms are taken sample by sample from activations and their gradients (`sample_norms`), so no
    weight gradient is formed; and as samples do not mix, the noise is a fraction of that of a norm of the sum, let
    alone of Hutchinson's estimate in the space of the parameters. It needs neither second derivatives nor forward mode:
    attention kernels and recurrent layers work; activation checkpoints are kept.

    Where rows do not belong to samples (batch statistics, time before batch), a parameter is used twice, or a layer has
    no formula, the squared norm of the whole gradient is taken: unbiased as well, because the signs of different
    samples are independent, but noisier. Which case it is the graph of the first batch tells, tried row by row.

    A loss that is not convex in the outputs (focal) has a negative part in :math:`H_n`, which takes a second backward.

    Args:
        network: the module whose layers are listened to. It is called inside the objective.
        groups: names of layer groups and of their parameters; None for the total alone.
        layer_normalized: whether to add the trace that does not change when layers are rescaled; see `Columns`.

    >>> import torch.nn.functional as F
    >>> net, x, y = nn.Linear(2, 1), torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0]])
    >>> loss = lambda p: F.mse_loss(torch.func.functional_call(net, p, x), y)
    >>> print(GaussNewtonTrace(net).exact(loss, dict(net.named_parameters())))
    12 ± 0 (GGN, eval mode, one batch, 0 probes)
    """

    def __init__(
        self,
        network: nn.Module,
        groups: Mapping[str, Sequence[str]] | None = None,
        *,
        layer_normalized: bool = False,
    ) -> None:
        self.network = network
        self.columns = Columns(dict(groups or {}), layer_normalized)
        self._plan: Plan | None = None

    def plan(self, objective: Objective, parameters: Parameters) -> Plan:
        """What the graph of one batch tells; found out once, at the cost of some five gradients.

        Raises:
            NoLikelihoodError: the loss is no sum of known losses of outputs; the message names what is in the way.
        """
        if self._plan is None:
            at, seen = leaves(parameters), Outputs()
            candidates = layers_of(self.network, parameters)
            with recording(), keeping_activations(), listening(candidates, seen), record_loss_calls() as calls:
                total = checked_loss(objective(at))
            used = calls.coefficients(total)
            ends = [call.outputs for call, _ in used]
            is_convex = all(factor.sign > 0 for call, slope in used for factor in factors(call, slope))
            layers = eligible(candidates, seen, ends, at)
            by_sample = {name for names in layers.values() for name in names.values()}
            uses = consumers(ends)
            others = tuple(name for name, leaf in at.items() if uses[id(leaf)] and name not in by_sample)
            self._plan = Plan(layers, others, certify(ends, at), is_convex)
        return self._plan

    def estimate(
        self,
        objective: Objective,
        parameters: Parameters,
        *,
        probes: int = 1,
        by_term: bool = False,
        generator: torch.Generator | None = None,
        of: Subject = Subject(),  # noqa: B008 (immutable)
    ) -> GaussNewtonEstimate:
        """Estimate the traces on one batch.

        Args:
            objective: the loss on the batch, 0-d; it calls the network once.
            parameters: those whose traces are wanted.
            probes: how many random vectors, a backward each.
            by_term: whether to tell the terms of a LossModule apart, a backward each.
            generator: source of randomness; None for the global one.
            of: mode and batch, which the result repeats.

        Returns:
            The estimate; its standard error for the batch is NaN with one probe.

        Raises:
            NoLikelihoodError: the loss is no sum of known losses of outputs.
            ValueError: `probes` below 1.
        """
        check_number("probes", probes, at_least=1)
        run = self._forward(objective, parameters)
        terms: dict[str, list[Source]] = {}
        for source in run.sources:
            terms.setdefault(f"term/{source.call.term}" if by_term else "", []).append(source)
        moments, samples, whole = Moments(), list[Tensor](), torch.zeros(())
        for _ in range(probes):
            parts = [self._probe(run, sources, generator) for sources in terms.values()] or [run.backward([])]
            samples.append(self._table([part.samples for part in parts], by_term))
            wholes = self._table([part.whole.unsqueeze(0) for part in parts], by_term)[0]
            moments.add(samples[-1].sum(0) + wholes)
            whole = whole + wholes.abs()
        found = moments.estimate(replace(of, matrix="GGN"))
        error = _error_of_sum(torch.stack(samples).mean(0)).where(whole == 0, math.nan)
        names = (*self.columns.names, *(terms if by_term else ()))
        return GaussNewtonEstimate(found.value, found.standard_error, probes, found.of, names, error)

    def exact(
        self,
        objective: Objective,
        parameters: Parameters,
        *,
        of: Subject = Subject(),  # noqa: B008 (immutable)
    ) -> GaussNewtonEstimate:
        """The traces on one batch without noise: a backward for each column of an element's S, of all samples at once.

        With C classes and one prediction a sample these are C backwards. Where whole gradients have to be taken, each
        sample needs its own.

        Args:
            objective: the loss on the batch, 0-d; it calls the network once.
            parameters: those whose traces are wanted.
            of: mode and batch, which the result repeats.

        Raises:
            NoLikelihoodError: the loss is no sum of known losses of outputs.
        """
        run = self._forward(objective, parameters)
        values = [run.backward([]).whole]
        for source in run.sources:
            for cotangent in source.factor.columns(run.samples, apart=bool(run.whole)):
                squares = run.backward([(source, cotangent)])
                values.append(source.factor.sign * (squares.samples.sum(0) + squares.whole))
        value = self._table([torch.stack(values).sum(0, keepdim=True)], by_term=False)[0]
        unknown = torch.full_like(value, math.nan)
        return GaussNewtonEstimate(
            value, torch.zeros_like(value), 0, replace(of, matrix="GGN"), self.columns.names, unknown
        )

    def _forward(self, objective: Objective, parameters: Parameters) -> SamplePass:
        """A pass over the layers that can be trusted: those that are used as when they were chosen."""
        plan = self.plan(objective, parameters)
        weights = self.columns.weights(parameters)
        while True:
            run = SamplePass(objective, parameters, plan.layers, weights)
            if not run.irregular:
                return run
            dropped = tuple(name for layer in run.irregular for name in plan.layers[layer].values())
            layers = {layer: names for layer, names in plan.layers.items() if layer not in run.irregular}
            plan = self._plan = replace(plan, layers=layers, others=plan.others + dropped)

    def _probe(self, run: SamplePass, sources: Sequence[Source], generator: torch.Generator | None) -> Squares:
        """One backward for each sign of curvature."""
        found = [
            run.backward([(source, source.factor.probe(generator)) for source in sources if source.factor.sign == sign])
            .times(sign)
            for sign in dict.fromkeys(source.factor.sign for source in sources)
        ]  # fmt: skip
        return found[0] if len(found) == 1 else found[0].plus(found[1])

    def _table(self, parts: Sequence[Tensor], by_term: bool) -> Tensor:
        """The sum of the parts, [rows, columns], and the total of each part."""
        return torch.cat([torch.stack(list(parts)).sum(0), *(part[:, :1] for part in parts if by_term)], 1)


def _error_of_sum(samples: Tensor) -> Tensor:
    """Standard error of the sum of N independent values, [N, S]; NaN where there are too few to tell."""
    if len(samples) < 2:
        return samples.new_full(samples.shape[1:], math.nan)
    return math.sqrt(len(samples)) * samples.std(0)
