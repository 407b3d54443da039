"""Losses of classes: exclusive, several at once, ordered."""

from lightning_losses.advise.evidence.annotators import Opinions
from lightning_losses.advise.evidence.labels import Labels, effective_weights
from lightning_losses.advise.evidence.multilabel import Multilabel, positive_weights
from lightning_losses.advise.proposal import Proposal, loss

USUAL_SMOOTHING = 0.1
SHARE_OF_RARE = (
    "Class weights trade accuracy on frequent classes for accuracy on rare ones, and predicted probabilities no longer "
    "are those of the data. Where every sample counts the same, cross-entropy alone stays right."
)


def classification(seen: Labels, ignore_index: int | None = None) -> Proposal:
    """Weights for rare classes, smoothing for overconfidence, each if it was found; cross-entropy otherwise."""
    reasons, cautions, alternatives = [], [], []
    weights = smoothing = None
    if seen.shows("imbalance"):
        weights = effective_weights(seen.counts)
        tail = " There is a long tail: frequent classes beside classes of fewer than 20." if seen.long_tail else ""
        reasons.append(f"Classes are unequal: {seen.findings['imbalance']}.{tail}")
        cautions.append(SHARE_OF_RARE)
        alternatives.append("SoftmaxFocal(gamma=2), where the rare classes are also the hard ones.")
    if seen.shows("overconfidence"):
        smoothing = USUAL_SMOOTHING
        reasons.append(f"The predictions are overconfident: {seen.findings['overconfidence']}.")
        cautions.append("This holds for held-out predictions only, and dividing logits by a temperature cures it too.")
    if seen.shows("order"):
        alternatives.append(f"CORN, with --task ordinal: the classes seem ordered: {seen.findings['order']}.")
    spec = loss("CrossEntropy", class_weight=weights, label_smoothing=smoothing, ignore_index=ignore_index)
    return Proposal({"classify": spec}, "cross-entropy", reasons, cautions, alternatives)


def opinions(seen: Opinions) -> Proposal:
    """The opinions themselves as targets, if they differ."""
    for name, words in (("disagreement", "Annotators disagree"), ("spread", "The targets are no labels")):
        if seen.shows(name):
            smoothing = f"{seen.smoothing:.2g}"
            return Proposal(
                {"classify": "KLDivergence"},
                "cross-entropy",
                [f"{words}: {seen.findings[name]}. A label would hide it."],
                ["The target is the share of opinions for each class [N, C], not the label of the majority."],
                [f"CrossEntropy(label_smoothing={smoothing}), where only the label of the majority can be had."],
            )
    return Proposal({"classify": "CrossEntropy"}, "cross-entropy")


def ordinal(seen: Labels, classes: int, ignore_index: int | None = None) -> Proposal:
    """The order that the user declares; whether mistakes bear it out is said, where there are predictions."""
    reasons = ["The classes are ordered, as you say: a mistake by two then costs more than one by one."]
    cautions = [f"The model gives {classes - 1} logits, one for each threshold; corn_label turns them into labels."]
    if "order" in seen.findings:
        verdict = "bear the order out" if seen.shows("order") else "do not show the order"
        reasons.append(f"The mistakes of the predictions {verdict}: {seen.findings['order']}.")
    else:
        cautions.append("Labels alone cannot show an order; the mistakes of predictions of five classes or more can.")
    if seen.shows("imbalance"):
        cautions.append(f"CORN has no class weights, and classes are unequal: {seen.findings['imbalance']}.")
    alternatives = ["CORAL, where the thresholds shall share one weight vector.", "CrossEntropy, as the comparison."]
    spec = loss("CORN", classes=classes, ignore_index=ignore_index)
    return Proposal({"grade": spec}, "cross-entropy", reasons, cautions, alternatives)


def multilabel(seen: Multilabel) -> Proposal:
    """Asymmetric focusing for sparse positives, weights for single rare labels, otherwise binary cross-entropy."""
    plain = "binary cross-entropy"
    if seen.shows("exclusive"):
        reason = f"No sample has two labels, and none has none: {seen.findings['exclusive']}."
        return Proposal({"classify": "CrossEntropy"}, plain, [reason], ["The target is the index of the label [N]."])
    if seen.shows("sparse"):
        reason = f"Negatives outnumber positives by far: {seen.findings['sparse']}."
        caution = "Probabilities are not calibrated then: choose the threshold of each label on held-out data."
        other = "BCEWithLogits, where calibrated probabilities matter more than the ranking of labels."
        return Proposal({"classify": "Asymmetric"}, plain, [reason], [caution], [other])
    if seen.shows("rare"):
        reason = f"Some labels are rare, though most are not: {seen.findings['rare']}."
        caution = "The weights raise the predicted probabilities of rare labels above their frequency."
        spec = loss("BCEWithLogits", pos_weight=positive_weights(seen.positives, seen.samples))
        return Proposal({"classify": spec}, plain, [reason], [caution])
    return Proposal({"classify": "BCEWithLogits"}, plain)
