"""What stands out in a run, in plain words, each with its evidence."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from lightning_losses.dashboards.findings.gradients import exploding, nonfinite_gradients, unstable, vanishing
from lightning_losses.dashboards.findings.losses import (
    below_bound,
    conflicting,
    dominant,
    knows_nothing,
    nonfinite_losses,
    stuck_weights,
)
from lightning_losses.dashboards.findings.results import missed_reference, overfitting, plateaus, too_good
from lightning_losses.dashboards.findings.series import Finding
from lightning_losses.dashboards.history import History

Check = Callable[[History], list[Finding] | None]
"""What it finds; None where the run has not logged enough to tell."""

CHECKS: Mapping[str, Check] = {
    "a result below the recipe's reference": missed_reference,
    "losses that are NaN or infinite": nonfinite_losses,
    "gradients that are NaN or infinite": nonfinite_gradients,
    "a loss below its lower bound": below_bound,
    "a loss worse than that of a model that knows nothing": knows_nothing,
    "a loss that is too good to be true": too_good,
    "a term that dominates": dominant,
    "terms that pull against each other": conflicting,
    "weights stuck at their limit": stuck_weights,
    "layers whose gradient explodes": exploding,
    "layers whose gradient vanishes": vanishing,
    "curvature beyond what the optimizer can stand": unstable,
    "a validation loss that rises while the training loss falls": overfitting,
    "losses that have stopped improving": plateaus,
}
"""By what each looks for."""

ORDER = ("problem", "warning", "note")


class Reading(NamedTuple):
    """What the checks say of one run.

    Args:
        findings: the gravest first.
        clear: what was looked for and not found.
        unknown: what could not be looked for, since too little of it was logged.
    """

    findings: list[Finding]
    clear: list[str]
    unknown: list[str]


def read_out(history: History) -> Reading:
    """Ask every check.

    >>> read_out(History("empty")).findings
    []
    """
    reading = Reading([], [], [])
    for looks_for, check in CHECKS.items():
        found = check(history)
        if found is None:
            reading.unknown.append(looks_for)
        elif found:
            reading.findings.extend(found)
        else:
            reading.clear.append(looks_for)
    reading.findings.sort(key=lambda finding: ORDER.index(finding.severity))
    return reading
