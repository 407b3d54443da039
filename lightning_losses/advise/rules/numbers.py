"""Losses of numbers: squares, unless outliers, tails or scales speak against them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_losses.advise.evidence.numbers import HUBER, LAPLACE, Numbers
from lightning_losses.advise.proposal import Proposal, loss, term

MOST_TERMS = 8
ALTERNATIVES = {
    "MSE": (),
    "Huber": (
        "MSE, where the outliers are true and their size matters.",
        "LogCosh on targets divided by their robust standard deviation, for a smooth Hessian.",
    ),
    "MAE": ("Huber, which is smooth at 0.", "MSE, where the outliers are true and their size matters."),
}


def regression(seen: Numbers, intervals: Sequence[float] | None = None) -> Proposal:
    """Huber for outliers, absolute errors for the heaviest tails, a term for each output of unequal scales.

    Args:
        seen: the evidence.
        intervals: the quantiles that shall be predicted beside the value, for example (0.05, 0.95).
    """
    name = _name(seen)
    reasons, cautions = _reasons(seen, name) if name != "MSE" else [], _skew(seen, name)
    scales = f"The outputs have different scales: {seen.findings['scales']}." if seen.shows("scales") else ""
    if scales and len(seen.scales) <= MOST_TERMS and (seen.scales > 0).all():
        terms = _one_for_each(seen, name)
        reasons.append(f"{scales} One term each, divided by what predicting the centre scores.")
        cautions.append("GradNorm is for scales that change in training; where they are known, weights are better.")
    elif scales:
        terms = {"fit": _loss(name, 1.0)}
        reasons.append(f"{scales} Divide each target by its standard deviation.")
    else:
        terms = {"fit": _loss(name, float(np.median(seen.scales[seen.scales > 0])) if name == "Huber" else 1.0)}
    if intervals:
        if "fit" in terms:
            terms["fit"] = term(terms["fit"], ["value", "target"])
        terms["interval"] = term(loss("Quantile", quantiles=list(intervals)), ["quantiles", "target"])
        reasons.append(f"Intervals were asked for: the quantiles {', '.join(map(str, intervals))}.")
    return Proposal(terms, "squared error", reasons, cautions, ALTERNATIVES[name])


def _name(seen: Numbers) -> str:
    """Of a skewed distribution the far values on one side are its tail, which a mean has to count."""
    if seen.shows("skew") and seen.shows("one side"):
        return "MSE"
    if seen.shows("tails") and seen.findings["tails"].bound > LAPLACE:
        return "MAE"
    return "Huber" if seen.shows("outliers") or seen.shows("tails") else "MSE"


def _loss(name: str, scale: float) -> Any:
    return loss("Huber", delta=float(f"{HUBER * scale:.3g}")) if name == "Huber" else name


def _reasons(seen: Numbers, name: str) -> list[str]:
    than = f"beyond Laplace's {LAPLACE}, whose likelihood is the absolute error" if name == "MAE" else "not normal"
    words = {"outliers": "There are outliers", "tails": f"Tails are heavy, {than}"}
    return [f"{words[found]}: {seen.findings[found]}." for found in words if seen.shows(found)]


def _skew(seen: Numbers, name: str) -> list[str]:
    found = [f"{seen.findings[finding]}" for finding in ("skew", "one side") if seen.shows(finding)]
    if not found:
        return []
    aim = (
        "MSE aims at its mean, of which a long tail is a part; Huber and MAE aim nearer to the median."
        if name == "MSE"
        else f"{name} aims nearer to the median than to the mean."
    )
    logarithm = ["All targets are above 0: their logarithm may be the better target."] if seen.positive else []
    return [f"The distribution is skewed: {', '.join(found)}. {aim}", *logarithm]


def _one_for_each(seen: Numbers, name: str) -> dict[str, Any]:
    """Weights are one over the scale, squared where the loss is a square near 0."""
    power = 1 if name == "MAE" else 2
    return {
        f"output_{index}": term(
            _loss(name, scale), [f"value_{index}", f"target_{index}"], float(f"{scale**-power:.3g}")
        )
        for index, scale in enumerate(map(float, seen.scales))
    }
