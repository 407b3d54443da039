"""Numbers: outliers, tails and skew by quantiles, which no outlier can move; the scales of several outputs.

What is looked at are residuals where there are predictions, and the targets themselves where there are none.
"""

from dataclasses import dataclass

import numpy as np

from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.statistics import LEVEL, Array, normal, share_bounds

OCTILES = tuple(k / 8 for k in range(1, 8))
CUT = 3.5  # robust sigmas; Iglewicz and Hoaglin, "How to detect and handle outliers", 1993
SIGMA_OF_MAD = 1.4826
HUBER = 1.345
OUTLIERS = 0.0075
LOGISTIC, LAPLACE = 1.306, 1.585
SKEW = 0.117
ONE_SIDE = 0.75
SCALES = 10.0
# standard errors, times the root of the sample size, for normal values
LOG_MOORS_ERROR, BOWLEY_ERROR, LOG_MAD_ERROR = 1.440, 1.356, 1.167


@dataclass(frozen=True)
class Numbers(Evidence):
    """Evidence of numbers.

    Args:
        scales: the robust standard deviation of each output [D], 1.4826 times the median absolute deviation.
        positive: whether all targets are above 0.
    """

    scales: Array
    positive: bool


def look(targets: Array, predictions: Array | None = None) -> Numbers:
    """Look at targets [N, D], or at how far predictions of them are off.

    Args:
        targets: finite numbers [N, D].
        predictions: of the same shape.
    """
    values = targets if predictions is None else predictions - targets
    centred = values - np.median(values, 0)
    scales = SIGMA_OF_MAD * np.median(np.abs(centred), 0)
    kind = "targets" if predictions is None else "residuals"
    facts = {
        kind: f"{len(values)}" + f" of {values.shape[1]} outputs" * (values.shape[1] > 1),
        "robust standard deviation": ", ".join(f"{scale:.3g}" for scale in scales[:6]) + ", ..." * (len(scales) > 6),
    }
    notes = []
    if predictions is None:
        notes.append("Seen were the targets: a model may explain their shape. With predictions it is the residuals'.")
    spread = scales > 0
    if not spread.all():
        notes.append("More than half of an output's values are equal: it has no robust scale, and was not judged.")
    findings = shape_findings(centred[:, spread] / scales[spread])
    if spread.sum() > 1:
        findings["scales"] = scale_ratio(scales[spread], len(values))
    return Numbers(facts, findings, scales, bool((targets > 0).all()), notes=notes)


def shape_findings(standard: Array) -> dict[str, Finding]:
    """Of each finding that of the output of which it is most certain; `standard` [N, D] has scale 1, and D may be 0."""
    columns = standard.T
    fine = [column for column in columns if len(set(np.quantile(column, OCTILES))) == len(OCTILES)]
    level = LEVEL / max(len(columns), 1)
    found = {
        "outliers": [outliers(column, level) for column in columns],
        "tails": [tails(column, level) for column in fine],  # of a few different values, octiles say nothing of tails
        "skew": [skew(column, level) for column in fine],
        "one side": [one_sided(column, level) for column in columns if (np.abs(column) > CUT).any()],
    }
    return {name: max(each, key=lambda finding: finding.bound) for name, each in found.items() if each}


def outliers(standard: Array, level: float) -> Finding:
    """The share of values more than 3.5 robust standard deviations off.

    Threshold: with 0.7 % of values at 3.5 and the rest normal (0.05 % of which are beyond), Huber's estimate of the
    centre is as efficient as the mean; farther off, fewer do.
    """
    count, total = int((np.abs(standard) > CUT).sum()), len(standard)
    bound = float(share_bounds(count, total, level)[0])
    source = "with so many at 3.5 sigma, Huber's centre is as efficient as the mean"
    return Finding("share beyond 3.5 robust sigma", count / total, bound, OUTLIERS, source)


def tails(standard: Array, level: float) -> Finding:
    r"""Moors' kurtosis, :math:`((E_7 - E_5) + (E_3 - E_1)) / (E_6 - E_2)` of the octiles; 1.233 for normal values."""
    e = dict(enumerate(np.quantile(standard, OCTILES), start=1))
    value = float((e[7] - e[5] + e[3] - e[1]) / (e[6] - e[2]))
    bound = value * np.exp(-normal(level) * LOG_MOORS_ERROR / np.sqrt(len(standard)))
    source = "the logistic distribution, whose likelihood is log-cosh; 1.233 is normal"
    return Finding("Moors' kurtosis", value, float(bound), LOGISTIC, source)


def skew(standard: Array, level: float) -> Finding:
    r"""Bowley's skewness, :math:`|Q_3 + Q_1 - 2 Q_2| / (Q_3 - Q_1)`; 0 for symmetric values."""
    first, second, third = np.quantile(standard, (0.25, 0.5, 0.75))
    value = abs(float((third + first - 2 * second) / (third - first)))
    bound = value - normal(level / 2) * BOWLEY_ERROR / np.sqrt(len(standard))
    source = 'the gamma distribution of skewness 1, "highly skewed" (Bulmer 1979)'
    return Finding("Bowley's skewness", value, float(bound), SKEW, source)


def one_sided(standard: Array, level: float) -> Finding:
    """The share of the values beyond 3.5 robust standard deviations that lie on the side of most of them."""
    above, below = int((standard > CUT).sum()), int((standard < -CUT).sum())
    most, total = max(above, below), above + below
    bound = float(share_bounds(most, total, level / 2)[0])
    source = "of outliers that are added to a symmetric distribution, half are on each side"
    return Finding("of those, on one side", most / total, bound, ONE_SIDE, source)


def scale_ratio(scales: Array, samples: int) -> Finding:
    """How many times as much the largest output contributes to a mean of squares as the smallest."""
    value = float((scales.max() / scales.min()) ** 2)
    error = np.sqrt(2) * LOG_MAD_ERROR / np.sqrt(samples)
    bound = value * float(np.exp(-2 * normal(LEVEL / len(scales) ** 2) * error))
    source = "one output then gets under a tenth of another's gradient at the start"
    return Finding("largest variance / smallest", value, bound, SCALES, source)
