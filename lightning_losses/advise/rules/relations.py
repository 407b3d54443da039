"""Losses of relations between samples: rankings and distances."""

from lightning_losses.advise.evidence.rankings import Rankings
from lightning_losses.advise.findings import Evidence
from lightning_losses.advise.proposal import Proposal


def ranking(seen: Rankings) -> Proposal:
    """The loss of the lists' own kind: orders, one relevant item, grades; otherwise pairs."""
    plain = "pairs of items"
    if seen.shows("one relevant"):
        reason = f"One item of a list is the right one: {seen.findings['one relevant']}. ListNet is its cross-entropy."
        return Proposal({"rank": "ListNet"}, plain, [reason], alternatives=["PairwiseLogistic, if lists are short."])
    if seen.shows("total order"):
        reason = f"Lists are orders with hardly a tie: {seen.findings['total order']}."
        return Proposal({"rank": "ListMLE"}, plain, [reason], alternatives=["ListNet, where only the top matters."])
    if seen.grades > 2 and seen.shows("long"):
        reason = f"There are {seen.grades} grades, and lists longer than is looked at: {seen.findings['long']}."
        caution = "LambdaRank weighs a pair by what its exchange changes in NDCG: right if that is the metric."
        return Proposal({"rank": "LambdaRank"}, plain, [reason], [caution], ["PairwiseLogistic, as the comparison."])
    return Proposal({"rank": "PairwiseLogistic"}, plain)


def metric_learning(seen: Evidence) -> Proposal:
    """Triplets where identities have samples enough for a batch, otherwise two views of each sample."""
    plain = "two views of each sample"
    if seen.shows("enough"):
        reason = f"Triplets need several samples of an identity in a batch: {seen.findings['enough']}."
        caution = "Batches hold P identities with 4 samples each; a batch drawn at random has too few pairs."
        other = "InfoNCE on two views of each sample, where labels are not to be trusted."
        return Proposal({"embed": "Triplet"}, plain, [reason], [caution], [other])
    caution = "The two views of a sample are two augmentations of it; identities are not used."
    return Proposal({"embed": "InfoNCE"}, plain, cautions=[caution])
