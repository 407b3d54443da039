"""Several opinions about one sample: labels of several annotators, or distributions over the classes."""

import math
from dataclasses import dataclass

import numpy as np

from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.statistics import Array, mean_error, normal

AGREEMENT = 0.8
SPREAD = 0.02


@dataclass(frozen=True)
class Opinions(Evidence):
    """Evidence of opinions.

    Args:
        shares: of each class in the opinions about each sample [N, C].
    """

    shares: Array

    @property
    def smoothing(self) -> float:
        """The label smoothing that leaves as much to the other classes as the opinions do, on average."""
        classes = self.shares.shape[1]
        return float(min((1 - self.shares.max(1)).mean() * classes / (classes - 1), 0.5))


def look_at_votes(votes: Array, num_classes: int | None = None) -> Opinions:
    """How far annotators agree.

    Args:
        votes: labels [N, A] of A annotators, who need not be the same for every sample.
        num_classes: how many classes there are; by default the largest label + 1.
    """
    classes = max(num_classes or 0, int(votes.max()) + 1, 2)
    counts = np.stack([(votes == label).sum(1) for label in range(classes)], 1)
    shares = counts / votes.shape[1]
    findings = {}
    if np.count_nonzero(shares.sum(0)) > 1 and len(votes) > 1:  # else there is no chance to be better than
        findings["disagreement"] = fleiss_kappa(counts)
    return Opinions({**_facts(shares), "annotators": f"{votes.shape[1]} for each sample"}, findings, shares)


def look_at_distributions(shares: Array) -> Opinions:
    """How far distributions [N, C] are from labels."""
    left = 1 - shares.max(1)
    findings = {
        "spread": Finding(
            "probability beside the largest",
            float(left.mean()),
            float(left.mean()) - normal() * mean_error(left),
            SPREAD,
            "half of what the usual label smoothing of 0.1 leaves to the other of two classes is 0.025",
        )
    }
    return Opinions(_facts(shares), findings, shares)


def fleiss_kappa(counts: Array) -> Finding:
    r"""Agreement beyond chance, :math:`(\bar P - P_e) / (1 - P_e)`, from how many annotators chose which class [N, C].

    Its standard error is that of the jackknife over samples.
    """

    def kappa(agreeing: Array, shares: Array) -> Array:
        chance = np.square(shares).sum(-1)
        return np.asarray((agreeing - chance) / (1 - chance))

    samples, voters = len(counts), counts.sum(1)
    agreeing = (np.square(counts).sum(1) - voters) / (voters * (voters - 1))
    shares = counts / voters[:, None]
    value = float(kappa(agreeing.mean(), shares.mean(0)))
    with np.errstate(invalid="ignore"):  # without one sample, a single class may be left
        without = kappa((agreeing.sum() - agreeing) / (samples - 1), (shares.sum(0) - shares) / (samples - 1))
    spread = np.square(without - without.mean()).sum()
    error = math.sqrt((samples - 1) / samples * spread) if np.isfinite(spread) else math.inf
    source = 'agreement above it is "almost perfect" (Landis and Koch 1977)'
    return Finding("Fleiss' kappa", value, value + normal() * error, AGREEMENT, source, below=True)


def _facts(shares: Array) -> dict[str, str]:
    logs = np.log(np.where(shares > 0, shares, 1.0))
    entropy = -(shares * logs).sum(1).mean()
    return {
        "samples": f"{len(shares)}, of {shares.shape[1]} classes",
        "mean entropy of a sample": f"{entropy:.3f} nats of {np.log(shares.shape[1]):.3f}",
    }
