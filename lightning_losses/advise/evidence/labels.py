"""Class labels: how many samples each class has."""

from dataclasses import dataclass

import numpy as np

from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.statistics import LEVEL, Array, share_bounds

IMBALANCE = 10.0
IMBALANCE_SOURCE = "the least imbalance of the long-tailed sets in Cui et al. 2019"
FEW, MANY = 20, 100  # Liu et al., "Large-scale long-tailed recognition in an open world", 2019


@dataclass(frozen=True)
class Labels(Evidence):
    """Evidence of labels.

    Args:
        counts: samples of each class [C].
    """

    counts: Array

    @property
    def long_tail(self) -> bool:
        """Whether there are both classes of more than 100 samples and classes of fewer than 20."""
        present = self.counts[self.counts > 0]
        return bool((present < FEW).any() and (present > MANY).any())


def look(labels: Array, num_classes: int | None = None, independent: int | None = None, noun: str = "labels") -> Labels:
    """Count the labels.

    Args:
        labels: integers [N], at least 0.
        num_classes: how many classes there are; by default, those that occur.
        independent: how many were drawn independently, if not all N: the images of pixels or boxes.
        noun: what is counted, for the report.
    """
    counts = np.bincount(labels, minlength=num_classes or 0)
    present = counts[counts > 0]
    shares = present / present.sum()
    few = int((present < FEW).sum())
    facts = {
        noun: f"{present.sum()}, of {len(present)} classes",
        f"{noun} of a class": f"{present.min()} to {present.max()}, median {np.median(present):g}",
        "effective number of classes": f"{np.exp(-(shares * np.log(shares)).sum()):.2f} (exp of the entropy)",
        f"classes of fewer than {FEW}": f"{few} of {len(present)}",
    }
    judged = counts if num_classes else present
    return Labels(facts, {"imbalance": imbalance(judged, independent or len(labels))}, counts, notes=_absent(counts))


def imbalance(counts: Array, independent: int) -> Finding:
    """How many times the most frequent class is as frequent as the rarest, of several classes at once."""
    lower, upper = share_bounds(counts / counts.sum() * independent, independent, LEVEL / (2 * len(counts)))
    value = counts.max() / counts.min() if counts.min() else np.inf
    bound = float(lower.max() / upper.min()) if len(counts) > 1 else 1.0
    return Finding("largest class / smallest", float(value), bound, IMBALANCE, IMBALANCE_SOURCE)


def effective_weights(counts: Array) -> list[float]:
    r"""Class weights by effective numbers, :math:`(1-\beta) / (1-\beta^{n_c})` scaled to the mean 1.

    Cui et al., "Class-balanced loss based on effective number of samples", 2019. :math:`\beta = 1 - 1/\bar n` with the
    mean count :math:`\bar n`: classes beyond the mean are weighed nearly alike, rare ones by one over their count.

    >>> effective_weights(np.array([1000, 1000, 10]))
    [0.0552, 0.0552, 2.89]
    """
    seen = np.maximum(counts, 1)
    beta = 1 - 1 / max(seen.mean(), 1.0)
    weights = (1 - beta) / (1 - beta**seen)
    return [float(f"{weight:.3g}") for weight in weights / weights.mean()]


def _absent(counts: Array) -> list[str]:
    missing = np.flatnonzero(counts == 0)
    if not len(missing):
        return []
    named = ", ".join(map(str, missing[:8])) + ", ..." * (len(missing) > 8)
    return [f"No sample of class {named}: a loss needs as many logits as the largest label + 1, or renumber."]
