"""Labels that do not exclude each other: positives per sample and per class."""

from dataclasses import dataclass

import numpy as np

from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.statistics import LEVEL, Array, share_bounds

SPARSE = 0.09
RARE = 1 / 11
EXCLUSIVE = 0.95


@dataclass(frozen=True)
class Multilabel(Evidence):
    """Evidence of labels that do not exclude each other.

    Args:
        positives: samples that have each label [C].
        samples: how many there are.
    """

    positives: Array
    samples: int


def look(targets: Array) -> Multilabel:
    """Count positives.

    Args:
        targets: 0 or 1 [N, C].
    """
    samples, classes = targets.shape
    positives, of_sample = targets.sum(0), targets.sum(1)
    rates = positives / samples
    facts = {
        "samples": f"{samples}, of {classes} labels",
        "labels of a sample": f"{of_sample.min()} to {of_sample.max()}, mean {of_sample.mean():.3g}",
        "share of samples with a label": f"{rates.min():.2%} to {rates.max():.2%}",
    }
    findings: dict[str, Finding] = {}
    if positives.any():
        findings |= {"sparse": _sparse(of_sample / classes), "rare": _rare(positives, samples)}
    if classes > 1:
        findings["exclusive"] = _exclusive(of_sample)
    return Multilabel(facts, findings, positives, samples, notes=_notes(positives))


def positive_weights(positives: Array, samples: int) -> list[float]:
    """Negatives for a positive, label by label; 1 for labels that no sample has.

    >>> positive_weights(np.array([50, 10, 0]), 100)
    [1.0, 9.0, 1.0]
    """
    seen = np.maximum(positives, 1)
    weights = np.where((positives > 0) & (positives < samples), (samples - seen) / seen, 1.0)
    return [float(f"{weight:.3g}") for weight in weights]


def _sparse(shares: Array) -> Finding:
    value = float(shares.mean())
    bound = float(share_bounds(shares.sum(), len(shares))[1])
    source = "Pascal VOC, the densest data in Ridnik et al. 2021, has about 8 %"
    return Finding("share of positives", value, bound, SPARSE, source, below=True)


def _rare(positives: Array, samples: int) -> Finding:
    _, upper = share_bounds(positives, samples, LEVEL / len(positives))
    source = "ten negatives for a positive: the imbalance from which on weights help (Cui et al. 2019)"
    return Finding("rate of the rarest label", float(positives.min() / samples), float(upper.min()), RARE, source, True)


def _exclusive(of_sample: Array) -> Finding:
    single = int((of_sample == 1).sum())
    lower = float(share_bounds(single, len(of_sample))[0])
    source = "then all but one of twenty have exactly one label, as exclusive classes do"
    value = single / len(of_sample)
    bound = lower if single == len(of_sample) else 0.0
    return Finding("samples with exactly one label", value, bound, EXCLUSIVE, source)


def _notes(positives: Array) -> list[str]:
    return [f"No sample has label {label}: nothing shows it." for label in np.flatnonzero(positives == 0)[:8]]
