"""Identities to be told apart by distances: how many samples each of them has."""

import numpy as np

from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.statistics import Array, share_bounds

IN_A_BATCH = 4  # samples of an identity in a batch: Hermans et al., "In defense of the triplet loss", 2017
MOST = 0.5


def look(labels: Array) -> Evidence:
    """Count the samples of each identity."""
    counts = np.unique(labels, return_counts=True)[1]
    samples = int(counts.sum())
    alone, enough = int((counts == 1).sum()), int(counts[counts >= IN_A_BATCH].sum())
    facts = {
        "samples": f"{samples}, of {len(counts)} identities",
        "samples of an identity": f"{counts.min()} to {counts.max()}, median {np.median(counts):g}",
        "identities of one sample": f"{alone}, without a positive pair",
    }
    bound = float(share_bounds(enough, samples)[0])
    source = f"triplets of {IN_A_BATCH} samples of an identity in a batch (Hermans et al. 2017), for most"
    name = f"samples whose identity has {IN_A_BATCH}"
    if len(counts) == 1:
        return Evidence(facts, {}, notes=["Only one identity occurs: there is nothing to tell apart."])
    return Evidence(facts, {"enough": Finding(name, enough / samples, bound, MOST, source)})
