"""Whether the run has reached what it should, and whether it still learns."""

import numpy as np

from lightning_losses.cli.reference import Reference
from lightning_losses.dashboards.findings.series import LEAST, Finding, finite, named, step
from lightning_losses.dashboards.history import History
from lightning_losses.dashboards.segment import Series

WORSE = 0.1
"""The rise of a validation loss above its least value, as a share of that value."""
NOISY = 3.0
"""The same, in typical differences between evaluations."""
WINDOW = 3
"""Evaluations of which the median is taken."""


def reference_of(history: History) -> tuple[Reference, float] | None:
    """The recipe's reference and what was measured; None for a run that has no reference or no result."""
    stated, metrics = history.result.get("reference"), history.result.get("metrics") or {}
    if not stated or stated["metric"] not in metrics:
        return None
    return Reference(**stated), float(metrics[stated["metric"]])


def missed_reference(history: History) -> list[Finding] | None:
    """A test metric on the wrong side of the recipe's reference by more than its tolerance."""
    found = reference_of(history)
    if found is None:
        return None
    reference, measured = found
    if reference.reached(measured):
        return []
    evidence = (
        f"{measured:.4g}, reference {reference.value:g} ± {reference.tolerance:g}: "
        f"missed by {reference.shortfall(measured):.3g}."
    )
    return [Finding("problem", f"{reference.metric} misses its reference.", evidence, reference.metric)]


def overfitting(history: History) -> list[Finding] | None:
    """A validation loss well above its least value, while the training loss has gone on falling."""
    training = history.series.get("train/loss", history.series.get("train/loss_step"))
    validation = history.series.get("val/loss")
    if training is None or validation is None or len(finite(validation).values) <= WINDOW:
        return None
    its = finite(validation)
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(its.values, WINDOW), axis=1)
    best = int(np.argmin(smooth))
    least, last, at = float(smooth[best]), float(smooth[-1]), float(its.steps[best + WINDOW // 2])
    noise = float(np.median(np.abs(np.diff(its.values))))
    rises = last - least > max(WORSE * abs(least), NOISY * noise)
    then, now = _around(training, at), _around(training, training.steps[-1])
    if not (rises and now < then):
        return []
    evidence = (
        f"val/loss is {last:.3g} at the end, its least was {least:.3g} at {step(at)} (medians of {WINDOW} values); "
        f"the training loss has fallen from {then:.3g} to {now:.3g} since. The best checkpoint is the earlier one."
    )
    return [Finding("warning", "The model learns its training data by heart.", evidence, "val/loss")]


def plateaus(history: History) -> list[Finding] | None:
    """Terms that the monitor says have not improved for long, up to the end."""
    flags = named(history, "losses/plateau/", least=1)
    if not flags:
        return None
    findings = []
    for name, (key, series) in flags.items():
        if series.values[-1] == 1:
            since = series.steps[np.flatnonzero(np.append(0, series.values[:-1]) == 0)[-1]]
            evidence = f"Its normalised value has not improved by 0.01 for long; flagged from {step(since)} to the end."
            findings.append(Finding("note", f"{name} has stopped improving.", evidence, key))
    return findings


def too_good(history: History) -> list[Finding] | None:
    """Terms that the monitor says were near perfect before they could have been learnt."""
    flags = named(history, "losses/too_good/", least=1)
    if not flags:
        return None
    findings = []
    for name, (key, series) in flags.items():
        if np.any(series.values == 1):
            first = series.steps[np.argmax(series.values == 1)]
            evidence = (
                f"Near perfect at {step(first)}: labels may leak into the input, or a mask may hide what is hard."
            )
            findings.append(Finding("warning", f"{name} is too good to be true.", evidence, key))
    return findings


def _around(series: Series, at: float) -> float:
    """The mean of the values nearest to a step."""
    its = finite(series)
    nearest = np.argsort(np.abs(its.steps - at))[: max(LEAST, len(its.steps) // 10)]
    return float(np.mean(its.values[nearest]))
