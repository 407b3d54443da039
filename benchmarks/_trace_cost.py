"""What estimates of the trace cost, measured in gradients: a forward and a backward of the same batch."""

import copy
import gc
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean, median, stdev
from typing import NamedTuple, TypeVar

import _curvature_peers as peers
from _resnet import Batch
from torch import nn

from lightning_losses.curvature import GaussNewtonEstimate, GaussNewtonTrace

T = TypeVar("T")
ERROR = 0.05
PROBES = 20  # of ours, from which their deviation is taken
PRODUCTS, FEWEST = 24, 3  # of Hutch++: in the run of ours that says how many are needed, and the least of the peers'
HUTCHINSON = "a Rademacher vector of the parameters"
UNIT, PYHESSIAN = "gradient", "PyHessian, trace"
OURS, EXACT = "ours: GGN, per-sample probes", "ours: GGN, exact"


class Candidate(NamedTuple):
    """A peer, how many probes it draws a round, and what they are: the same have the same variance."""

    start: peers.Peer
    probes: int
    draws: str


CANDIDATES = {
    UNIT: Candidate(peers.gradient, 3, "nothing"),
    PYHESSIAN: Candidate(peers.pyhessian, 2, HUTCHINSON),
    "double backward by hand": Candidate(peers.double_backward, 1, HUTCHINSON),
    "curvlinops, hutchinson_trace": Candidate(peers.curvlinops, 1, HUTCHINSON),
    "hessian-eigenthings, hutchinson": Candidate(peers.eigenthings, 1, HUTCHINSON),
    "BackPACK, hessian_vector_product": Candidate(peers.backpack_product, 1, HUTCHINSON),
    "Cockpit, HessTrace(diag_ggn_mc)": Candidate(peers.cockpit, 6, "a label of each sample"),
    "ours: Hutchinson": Candidate(peers.our_hessian, 2, HUTCHINSON),
}
SKETCHED = {
    "curvlinops, hutchpp_trace": peers.curvlinops_hutch_plus_plus,
    "hessian-eigenthings, hutch_plus_plus": peers.eigenthings_hutch_plus_plus,
}


class Record:
    """What one candidate's probes gave and cost in CPU seconds; the first has to make what the others reuse."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.first = 0.0
        self.later: list[float] = []


class Row(NamedTuple):
    """Of one estimator the relative standard deviation of a probe and, in gradients, its costs."""

    name: str
    std: float
    first: float
    later: float
    probes: float
    total: float

    def cells(self, reference: float) -> tuple[str, ...]:
        """For the table; in the last column how many times as much the reference costs."""
        costs = f"{self.first:.2f}", f"{self.later:.2f}", f"{self.probes:.3g}", f"{self.total:.3g}"
        return (self.name, f"{self.std:.3f}", *costs, f"{reference / self.total:.3g}")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result and the CPU seconds."""
    gc.collect()
    clock = time.process_time()
    return work(), time.process_time() - clock


def measured(network: nn.Module, batch: Batch, rounds: int) -> dict[str, Record]:
    """Every candidate's first probe, then rounds of more in a random order.

    Each has a network of its own, since PyHessian leaves graphs in `.grad` and Cockpit rewrites the modules.
    """
    records, probes = {name: Record() for name in CANDIDATES}, dict[str, peers.Probe]()

    def first(name: str, own: nn.Module) -> float:
        probes[name] = CANDIDATES[name].start(own, batch)
        return probes[name]()

    for name, record in records.items():
        own = copy.deepcopy(network)
        value, record.first = timed(lambda name=name, own=own: first(name, own))  # type: ignore[misc]
        record.values.append(value)
    turns, order = [name for name, candidate in CANDIDATES.items() for _ in range(candidate.probes)], random.Random(0)
    for _ in range(rounds):
        for name in order.sample(turns, len(turns)):
            value, seconds = timed(probes[name])
            records[name].values.append(value)
            records[name].later.append(seconds)
    return records


def random_rows(records: Mapping[str, Record], unit: float, trace: float) -> list[Row]:
    """(s / 5 %)^2 probes are needed, s from the probes of all candidates that draw alike."""
    alike: dict[str, list[float]] = {}
    for name, record in records.items():
        alike.setdefault(CANDIDATES[name].draws, []).extend(record.values)
    rows = []
    for name, record in records.items():
        std = stdev(alike[CANDIDATES[name].draws]) / trace
        first, later, probes = record.first / unit, median(record.later) / unit, max(1.0, (std / ERROR) ** 2)
        rows.append(Row(name, std, first, later, probes, first + (probes - 1) * later))
    return [row for row in rows if row.name != UNIT]


def sketched_rows(network: nn.Module, batch: Batch, unit: float, trace: float) -> list[Row]:
    """2 k + (s / 5 %)^2 products are needed with a sketch of k, s being the deviation of what it leaves.

    k and s are those of one run of ours; what a product costs is measured in each library.
    """
    estimate, seconds = timed(lambda: peers.our_hutch_plus_plus(network, batch, PRODUCTS))
    spent = 2 * (PRODUCTS // 3)
    std = float(estimate.standard_error) * math.sqrt(PRODUCTS - spent) / trace
    costs = {"ours: hutch_plus_plus": seconds / PRODUCTS}
    for name, start in SKETCHED.items():
        costs[name] = timed(start(copy.deepcopy(network), batch))[1] / FEWEST
    products = spent + (std / ERROR) ** 2
    return [Row(name, std, cost / unit, cost / unit, products, products * cost / unit) for name, cost in costs.items()]


class Samples(NamedTuple):
    """Ours on one batch, from GaussNewtonTrace: the exact trace, and the cost of what leads to it, in gradients."""

    trace: float
    std: float
    plan: float
    first: float
    later: float
    exact: float
    certified: bool

    @property
    def rows(self) -> list[Row]:
        """By probes, and exactly."""
        probes = max(1.0, (self.std / ERROR) ** 2)
        return [
            Row(OURS, self.std, self.first, self.later, probes, self.first + (probes - 1) * self.later),
            Row(EXACT, 0.0, self.exact, 0.0, 1.0, self.exact),
        ]


def samples_of(estimator: GaussNewtonTrace, batch: Batch, rounds: int) -> Samples:
    """The plan is made once for a network; of a batch, one probe in turn with a gradient, many, and all columns."""
    network = estimator.network
    at, gradient = (peers.objective(network, batch), dict(network.named_parameters())), peers.gradient(network, batch)
    plan, planning = timed(lambda: estimator.plan(*at))
    turns = [(timed(gradient)[1], timed(lambda: estimator.estimate(*at))[1]) for _ in range(3 * rounds)]
    unit, first = map(median, zip(*turns, strict=True))
    many, seconds = timed(lambda: estimator.estimate(*at, probes=PROBES))
    exact, whole = timed(lambda: estimator.exact(*at))
    trace, later = float(exact.value[0]), (seconds - first) / (PROBES - 1)
    std = float(many.standard_error[0]) * math.sqrt(PROBES) / trace
    return Samples(trace, std, planning / unit, first / unit, later / unit, whole / unit, plan.certificate.holds)


class Population(NamedTuple):
    """One probe of ours on each of many fresh batches: the traces, their errors as told by each, gradients a batch."""

    traces: list[float]
    errors: list[float]
    cost: float

    @property
    def std(self) -> float:
        """Of one batch's trace, relative, as found among the batches."""
        return stdev(self.traces) / mean(self.traces)

    def between_batches(self, probe_std: float) -> float:
        """Of one batch's exact trace: the samples' own spread, as each batch tells it, less the probe's."""
        told = mean(error**2 for error in self.errors) / mean(self.traces) ** 2
        return math.sqrt(told - probe_std**2)


def population(estimator: GaussNewtonTrace, batches: Sequence[Batch]) -> Population:
    """One probe a batch; a gradient of every fifth."""
    network, found = estimator.network, list[tuple[GaussNewtonEstimate, float]]()
    parameters, gradients = dict(network.named_parameters()), list[float]()
    for turn, batch in enumerate(batches):
        if turn % 5 == 0:
            gradients.append(timed(peers.gradient(network, batch))[1])
        found.append(timed(partial(estimator.estimate, peers.objective(network, batch), parameters)))
    traces, errors = ([float(getattr(e, of)[0]) for e, _ in found] for of in ("value", "population_error"))
    return Population(traces, errors, median(seconds for _, seconds in found) / median(gradients))
