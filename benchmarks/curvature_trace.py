"""What does the trace of the Hessian cost?

Counted in gradients, a forward and a backward of the same batch, until the standard error is 5 %: on one fixed batch,
and for the population, whose trace is estimated from fresh batches. Targets: at most 8 gradients on one batch
(PyHessian took 285 when they were set) and at most 25 for the population.
"""

import math
from collections.abc import Sequence
from statistics import mean, median, stdev
from typing import NamedTuple

import torch
from _common import arguments, publish, table
from _resnet import BATCH, STEPS, data, trained
from _trace_cost import (
    CANDIDATES,
    ERROR,
    EXACT,
    HUTCHINSON,
    OURS,
    PROBES,
    PRODUCTS,
    PYHESSIAN,
    UNIT,
    Population,
    Record,
    Row,
    Samples,
    measured,
    population,
    random_rows,
    samples_of,
    sketched_rows,
)

from lightning_losses.curvature import GaussNewtonTrace

FRESH, TARGET, POPULATION_TARGET = 25, 8, 25


class BatchRow(NamedTuple):
    """An estimator of the population's trace: the relative standard deviation and the gradients of one fresh batch."""

    name: str
    std: float
    cost: float

    @property
    def batches(self) -> float:
        """How many it takes."""
        return (self.std / ERROR) ** 2

    @property
    def total(self) -> float:
        """Gradients."""
        return self.batches * self.cost

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        return self.name, f"{self.std:.3f}", f"{self.cost:.2f}", f"{self.batches:.3g}", f"{self.total:.3g}"


def population_rows(ours: Population, between: float, pyhessian: Row) -> list[BatchRow]:
    """PyHessian with its best number of probes a batch, computed from what was measured of it; ours; and the floor."""
    many = [
        BatchRow(
            f"{PYHESSIAN}, {k} probe(s) a batch (computed)",
            math.hypot(between, pyhessian.std / math.sqrt(k)),
            pyhessian.first + (k - 1) * pyhessian.later,
        )
        for k in range(1, 20)
    ]
    return [
        min(many, key=lambda row: row.total),
        BatchRow(f"{OURS}, one a batch", ours.std, ours.cost),
        BatchRow("floor: the exact trace of every batch, each for one gradient", between, 1.0),
    ]


def agreement(records: dict[str, Record], trace: float) -> str:
    """Do all estimators estimate the same number?"""
    alike = [value for name, r in records.items() if CANDIDATES[name].draws == HUTCHINSON for value in r.values]
    error = stdev(alike) / math.sqrt(len(alike))
    return (
        f"The exact trace of the GGN is {trace:.4g}; the {len(alike)} probes v'Hv of all libraries together say "
        f"{mean(alike):.4g} ± {error:.2g} for the Hessian."
    )


def verdict(rows: Sequence[Row], fresh: Sequence[BatchRow], ours: Samples) -> str:
    """The targets, each with what was found."""
    totals = {row.name: row.total for row in rows}
    best = min(totals[OURS], totals[EXACT])
    found = fresh[1].total
    lines = [
        f"one batch: {best:.2g} gradients, target {TARGET}: {_held(best <= TARGET)}; {PYHESSIAN} "
        f"{totals[PYHESSIAN]:.3g}. The first time {best + ours.plan:.2g}: {ours.plan:.2g} find out, once for a "
        f"network, which layers keep samples apart, and whether the traces of Hessian and GGN are equal, which here is "
        f"{'certified' if ours.certified else 'NOT certified'}.",
        f"the population: {found:.3g} gradients, target {POPULATION_TARGET}: {_held(found <= POPULATION_TARGET)}; the "
        f"floor that the data set is {fresh[2].total:.3g}.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _held(yes: bool) -> str:
    return "holds" if yes else "MISSED"


def note(source: str, unit: float, rounds: int) -> str:
    """How it was measured."""
    return (
        f"ResNet-18 for 32x32 after {STEPS} steps of SGD, batches of {BATCH}, {source}; eval mode; CPU time; a "
        f"gradient took {unit:.2f} s. Costs are medians of {rounds} interleaved rounds. Relative deviations are over "
        f"the exact trace, from all probes that draw alike ({PROBES} of ours by sample). Hutch++ is counted in "
        f"products: their number from a run of {PRODUCTS} of ours, a third of them its sketch, their cost from 3 of "
        "the peers'; its deviation is that of what the sketch leaves. Cockpit's default, diag_h, refuses residual "
        "networks; its diag_ggn_mc runs inside the training's own gradient, which is in its costs. curvlinops is "
        f"without its check of determinism. The population: {FRESH} fresh batches; the floor is the spread of the "
        "samples' own traces, less the probes' noise."
    )


def main() -> None:
    options = arguments(__doc__, repeats=2)
    torch.set_num_threads(1)
    source = data(STEPS + 1 + FRESH)
    network, batch = trained(source.batches[:STEPS]), source.batches[STEPS]
    torch.manual_seed(0)
    records, estimator = measured(network, batch, options.repeats), GaussNewtonTrace(network)
    unit, ours = median(records[UNIT].later), samples_of(estimator, batch, options.repeats)
    rows = [*random_rows(records, unit, ours.trace), *sketched_rows(network, batch, unit, ours.trace), *ours.rows]
    rows.sort(key=lambda row: -row.total)
    pyhessian = next(row for row in rows if row.name == PYHESSIAN)
    found = population(estimator, source.batches[STEPS + 1 :])
    fresh = population_rows(found, found.between_batches(ours.std), pyhessian)
    costs = ("first", "a further one", "probes for 5 %", "gradients for 5 %", "PyHessian's / its")
    parts = (
        table(("one batch", "rel. std of a probe", *costs), [row.cells(pyhessian.total) for row in rows]),
        table(
            ("the population", "rel. std of a batch", "gradients a batch", "batches for 5 %", "gradients for 5 %"),
            [row.cells() for row in fresh],
        ),
        verdict(rows, fresh, ours),
        agreement(records, ours.trace),
        note(source.name, unit, options.repeats),
    )
    numbers = {
        "one batch": [row._asdict() for row in rows],
        "population": [row._asdict() | {"gradients": row.total} for row in fresh],
        "ours": ours._asdict(),
        "fresh batches": found._asdict(),
        "records": {name: vars(record) for name, record in records.items()},
    }
    publish(options.output, "What does the trace of the Hessian cost?", "\n\n".join(parts), numbers)


if __name__ == "__main__":
    main()
