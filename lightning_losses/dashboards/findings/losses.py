"""Losses and their balance: values that cannot be, terms that rule, terms that fight."""

from typing import Any

import numpy as np

from lightning_losses.dashboards.findings.series import (
    LEAST,
    Finding,
    finite,
    late,
    late_medians,
    matching,
    named,
    percent,
    siblings,
    step,
)
from lightning_losses.dashboards.history import History

LOSSES = ("*loss*", "train/raw/*", "train/weighted/*")
NORMALIZED = ("losses/normalized/", "train/normalized/")
WEIGHTS = ("losses/weight/", "train/weight/")
BELOW = -0.01
"""Normalised: less than this below 0 may be rounding, or the noise of a bound that was estimated."""
WORSE = 1.05
RULING = 0.9
OPPOSED = -0.1
"""The median cosine above which two gradients are rather unrelated than opposed."""


def nonfinite_losses(history: History) -> list[Finding] | None:
    """The loss that was first NaN or infinite, and the others."""
    series = matching(history, LOSSES)
    if not series:
        return None
    bad = {key: its.steps[~np.isfinite(its.values)] for key, its in series.items()}
    order = sorted((key for key in bad if len(bad[key])), key=lambda key: (bad[key][0], "loss" in key))
    if not order:
        return []
    first, *others = order
    evidence = f"At {len(bad[first])} of {len(series[first].steps)} logged steps, first at {step(bad[first][0])}."
    evidence += f" So are {_some(others)}, not before it." if others else ""
    return [Finding("problem", f"{first} is NaN or infinite.", evidence, first)]


def below_bound(history: History) -> list[Finding] | None:
    """A loss cannot be below its lower bound: the bound is wrong, or the loss or its inputs are."""
    found = named(history, *NORMALIZED, least=1)
    if not found:
        return None
    findings = []
    for name, (key, series) in found.items():
        its = finite(series)
        where = np.flatnonzero(its.values < BELOW)
        if len(where):
            evidence = (
                f"Its normalised value is below 0 at {len(where)} of {len(its.steps)} logged steps, first at "
                f"{step(its.steps[where[0]])}; the least is {its.values.min():.3g}. The bound is wrong, or the loss."
            )
            findings.append(Finding("problem", f"{name} is below its lower bound.", evidence, key))
    return findings


def knows_nothing(history: History) -> list[Finding] | None:
    """At the start a loss may well be above 1, the value of a model that knows nothing; later it should not."""
    found = named(history, *NORMALIZED)
    if not found:
        return None
    return [
        Finding(
            "warning",
            f"{name} is still worse than that of a model that knows nothing.",
            f"Its normalised value is {value:.3g} in the second half of the training (median); 1 is knowing nothing.",
            found[name][0],
        )
        for name, value in late_medians(found).items()
        if value > WORSE
    ]


def dominant(history: History) -> list[Finding] | None:
    """A term that makes up more than nine tenths of the total, or of the gradient at the place that terms share."""
    shares = named(history, "losses/share/")
    norms, weights = named(history, "gradients/term_norm/"), named(history, *WEIGHTS)
    pulls = {name: norm * late_medians(weights)[name] for name, norm in late_medians(norms).items() if name in weights}
    if not shares and not pulls:
        return None
    findings = []
    for parts, kind, keys in (late_medians(shares), "total", shares), (pulls, "gradient", norms):
        for names in (its for its in siblings(parts).values() if len(its) > 1):
            whole = sum(parts[name] for name in names)
            ruler = max(names, key=lambda name: parts[name])
            if whole > 0 and parts[ruler] > RULING * whole:
                evidence = f"{percent(parts[ruler] / whole)} of the {kind} in the second half of the training (median)"
                others = ", ".join(f"{name} {percent(parts[name] / whole)}" for name in names if name != ruler)
                title = f"{ruler} dominates the {kind}."
                findings.append(Finding("warning", title, f"{evidence}; {others}.", keys[ruler][0]))
    return findings


def conflicting(history: History) -> list[Finding] | None:
    """Pairs of terms whose gradients point against each other most of the time."""
    pairs = named(history, "gradients/cosine/")
    if not pairs:
        return None
    findings = []
    for name, (key, series) in pairs.items():
        values = finite(series).values
        negative, median = float(np.mean(values < 0)), float(np.median(values))
        if negative > 0.5 and median < OPPOSED:
            evidence = (
                f"The cosine of {name} is negative in {percent(negative)} of {len(values)} measurements, its median "
                f"{median:.2f}: a step that helps one harms the other. PCGrad and its relatives are made for this."
            )
            findings.append(Finding("warning", f"Two terms pull against each other: {name}.", evidence, key))
    return findings


def stuck_weights(history: History) -> list[Finding] | None:
    """Weights that GradNorm has held at their limit for the whole second half."""
    balancer = _balancer(history.config)
    weights = named(history, *WEIGHTS)
    if balancer is None or not weights:
        return None
    least, most = balancer.get("min_weight", 1e-3), balancer.get("max_weight") or np.inf
    findings = []
    for name, (key, series) in weights.items():
        values = late(series)
        side = "lower" if values.max() < 1.05 * least else "upper" if values.min() > 0.99 * most else None
        if side and len(values) >= LEAST / 2:
            evidence = (
                f"It stays within {values.min():.3g} and {values.max():.3g} for the whole second half of the training; "
                f"the {side} limit is {least if side == 'lower' else most:g}. GradNorm cannot balance this term."
            )
            findings.append(Finding("warning", f"The weight of {name} is stuck at its {side} limit.", evidence, key))
    return findings


def _balancer(config: Any) -> dict[str, Any] | None:
    """The arguments of the GradNorm in a configuration, at whatever depth."""
    if not isinstance(config, dict):
        return None
    found = config.get("balancer")
    path = found.get("class_path") if isinstance(found, dict) else found
    if isinstance(path, str) and path.rpartition(".")[2] == "GradNorm":
        return dict(found.get("init_args") or {}) if isinstance(found, dict) else {}
    return next((its for value in config.values() if (its := _balancer(value)) is not None), None)


def _some(keys: list[str], most: int = 4) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
