"""Losses of images: of label maps and of boxes."""

from lightning_losses.advise.evidence.masks import Masks
from lightning_losses.advise.findings import Evidence
from lightning_losses.advise.proposal import Proposal, loss, term

OVERLAP = "Dice sums over the whole batch: a small batch of images without a class tells nothing of it."


def segmentation(seen: Masks, ignore_index: int | None = None) -> Proposal:
    """An overlap of regions beside cross-entropy for rare classes, one that minds misses for small foregrounds."""
    if not seen.shows("imbalance"):
        other = "DiceCE, where Dice or IoU is what you report: it is nearer to them than cross-entropy."
        spec = loss("CrossEntropy", ignore_index=ignore_index)
        return Proposal({"segment": spec}, "cross-entropy", alternatives=[other])
    reasons = [f"Classes have unequal shares of the pixels: {seen.findings['imbalance']}."]
    if seen.shows("absent"):
        absent = seen.findings["absent"]
        reasons.append(f"Cross-entropy stays in, as Dice does not score a class that is nowhere true: {absent}.")
    if not seen.shows("foreground"):
        spec = loss("DiceCE", ignore_index=ignore_index)
        other = "Tversky(alpha=0.3, beta=0.7) with CrossEntropy, where a missed pixel is worse than a false one."
        return Proposal({"segment": spec}, "cross-entropy", reasons, [OVERLAP], [other])
    reasons.append(f"The foreground is small, so misses shall cost more: {seen.findings['foreground']}.")
    name = "FocalTversky" if seen.shows("small") else "Tversky"
    if name == "FocalTversky":
        reasons.append(f"Most objects are small: {seen.findings['small']}.")
    terms = {
        "overlap": term(loss(name, ignore_index=ignore_index)),
        "pixels": term(loss("CrossEntropy", ignore_index=ignore_index)),
    }
    caution = "Tversky's beta = 0.7 buys recall with precision; compare with DiceCE."
    return Proposal(terms, "cross-entropy", reasons, [OVERLAP, caution])


def detection(seen: Evidence) -> Proposal:
    """A loss of boxes that minds aspect ratios where these vary; focal weighting of candidates, whatever is seen."""
    slim = seen.shows("slim")
    reasons = [f"CIoU also compares aspect ratios, and these vary: {seen.findings['slim']}."] if slim else []
    cautions = [
        "Focal weighting rests on what dense detectors have in common, a positive among thousands of candidates "
        "(Lin et al. 2017), not on anything seen here. Divide it by the number of positives (reduction: sum)."
    ]
    if seen.shows("imbalance"):
        cautions.append(f"Classes are unequal: {seen.findings['imbalance']}. Look at the average precision of each.")
    terms = {
        "boxes": term("CIoU" if slim else "GIoU", ["boxes", "true_boxes"]),
        "classes": term("SigmoidFocal", ["logits", "labels"]),
    }
    other = "CrossEntropy for the classes, in a detector that samples candidates (two stages) or matches sets."
    return Proposal(terms, "GIoU and focal weighting", reasons, cautions, [other])
