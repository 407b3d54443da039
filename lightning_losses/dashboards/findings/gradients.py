"""Gradients by layer, and whether the optimizer can stand the curvature."""

from itertools import pairwise

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
    step,
)
from lightning_losses.dashboards.history import History

NORMS = ("gradients/norm/", *(f"gradients/{optimizer}/norm/" for optimizer in range(10)))
EXPLODING = 100.0
"""Times the median of what was before."""
STRETCHES = 100
"""Of a course, each of which is compared with what was before it."""
VANISHING = 1e-5
"""Times the largest layer's."""
SKIPPED = 0.1
"""The share of steps that a GradScaler may skip while it looks for its scale."""


def nonfinite_gradients(history: History) -> list[Finding] | None:
    """Infinite or NaN gradients; a few are usual under fp16, whose GradScaler finds its scale by them."""
    counts = matching(history, ("gradients/nonfinite", "gradients/[0-9]/nonfinite"))
    if not counts:
        return None
    findings = []
    for key, series in counts.items():
        where = np.flatnonzero(series.values != 0)
        share = len(where) / max(1, len(series.values))
        is_fp16 = str((history.config.get("trainer") or {}).get("precision", "")).startswith("16")
        if share > (SKIPPED if is_fp16 else 0.0):
            evidence = (
                f"At {len(where)} of {len(series.steps)} logged steps, first at {step(series.steps[where[0]])}. "
                "Such a step does harm, or is skipped by the GradScaler."
            )
            findings.append(Finding("problem", "Gradients are NaN or infinite.", evidence, key))
    return findings


def exploding(history: History) -> list[Finding] | None:
    """Layers whose gradient norm has grown past a hundred times the median of what was before."""
    layers = named(history, *NORMS)
    if not layers:
        return None
    findings = []
    for name, (key, series) in layers.items():
        its = finite(series)
        for start, stop in pairwise(
            np.unique(np.linspace(LEAST // 2, len(its.values), STRETCHES).astype(int)).tolist()
        ):
            usual = float(np.median(its.values[:start]))
            at = start + int(np.argmax(its.values[start:stop]))
            if its.values[at] > EXPLODING * usual > 0:
                evidence = (
                    f"Its norm is {its.values[at]:.3g} at {step(its.steps[at])}, {its.values[at] / usual:,.0f} times "
                    f"the median of what was before ({usual:.3g})."
                )
                findings.append(Finding("problem", f"The gradient of {name} explodes.", evidence, key))
                break
    return findings


def vanishing(history: History) -> list[Finding] | None:
    """Layers whose gradient norm is a hundred-thousandth of the largest layer's."""
    layers = {name: its for name, its in named(history, *NORMS).items() if name != "total"}
    if len(layers) < 2:
        return None
    norms = late_medians(layers)
    largest = max(norms, key=lambda name: norms[name])
    return [
        Finding(
            "warning",
            f"The gradient of {name} vanishes.",
            f"Its norm is {norm:.2g}, that of {largest} {norms[largest]:.2g} (medians of the second half).",
            layers[name][0],
        )
        for name, norm in norms.items()
        if norm < VANISHING * norms[largest]
    ]


def unstable(history: History) -> list[Finding] | None:
    """Sharpness over what the optimizer can stand: a training at the edge hovers around 1 and is well, above is not."""
    found = named(history, "curvature/stability").get("")
    if found is None:
        return None
    key, series = found
    early, now = float(np.median(finite(series).values[: LEAST // 2])), float(np.median(late(series, 0.25)))
    evidence = (
        f"Sharpness over the limit (2/lr for gradient descent) is {early:.2g} at the start and {now:.2g} at the end"
    )
    above = f"above 1 at {percent(float(np.mean(finite(series).values > 1)))} of the measurements"
    if now > 1.5:
        title = "The curvature is beyond what the optimizer can stand."
        return [Finding("warning", title, f"{evidence}, {above}. A smaller learning rate is stable.", key)]
    if now > 0.8 and now > 1.5 * early:
        title = "Sharpness has risen to what the optimizer can stand."
        return [Finding("note", title, f"{evidence}, {above}. Usual at a constant learning rate.", key)]
    return []
