"""Boxes: how many an image has, how large and how slim they are, and their classes."""

from collections.abc import Sequence

import numpy as np

from lightning_losses.advise.evidence import labels as class_labels
from lightning_losses.advise.evidence.masks import SMALL
from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.statistics import Array, margin, ratio_error

SLIM = 2.0
SHARE = 0.1


def look(
    boxes: Sequence[Array], labels: Sequence[Array] | None = None, sizes: Sequence[tuple[float, float]] | None = None
) -> Evidence:
    """Measure the boxes.

    Args:
        boxes: (x1, y1, x2, y2) of each image [n, 4].
        labels: of the boxes of each image [n].
        sizes: (height, width) of each image.
    """
    spans = [image[:, 2:] - image[:, :2] for image in boxes]
    areas = [each.prod(1) for each in spans]
    facts = _facts(spans, areas, sizes)
    findings = {"slim": _slim(spans)} if any(len(image) for image in boxes) else {}
    notes = ["Which share of a detector's candidates is positive depends on the model: labels cannot tell."]
    flat = sum(int((each <= 0).any(1).sum()) for each in spans)
    if flat:
        notes.append(f"{flat} boxes have no area, which must be a slip: leave them out.")
    if labels is not None and any(len(image) for image in labels):
        found = class_labels.look(np.concatenate(list(labels)), independent=len(labels), noun="boxes")
        facts |= {name: fact for name, fact in found.facts.items() if name != "boxes"}
        findings |= found.findings
    return Evidence(facts, findings, notes=notes)


def _facts(
    spans: Sequence[Array], areas: Sequence[Array], sizes: Sequence[tuple[float, float]] | None
) -> dict[str, str]:
    numbers = np.array([len(each) for each in spans])
    facts = {
        "boxes": f"{numbers.sum()} in {len(numbers)} images",
        "boxes of an image": f"{numbers.min()} to {numbers.max()}, median {np.median(numbers):g}",
    }
    if not numbers.sum():
        return facts
    sides = np.sqrt(np.concatenate(areas))
    low, half, high = np.quantile(sides, (0.1, 0.5, 0.9))
    facts["side of a box, root of its area"] = f"median {half:.0f} px, the middle 80 % {low:.0f} to {high:.0f}"
    facts["boxes below 32 x 32 px"] = f"{(np.concatenate(areas) < SMALL).mean():.1%}"
    if sizes is not None:
        shares = np.concatenate([area / (size[0] * size[1]) for area, size in zip(areas, sizes, strict=True)])
        facts["share of the image that a box covers"] = f"median {np.median(shares):.2%}"
    return facts


def _slim(spans: Sequence[Array]) -> Finding:
    """The share of boxes that are slimmer than 2 to 1, with an error over images."""
    whole = [each[(each > 0).all(1)] for each in spans]
    slim = np.array([(each.max(1) > SLIM * each.min(1)).sum() if len(each) else 0 for each in whole], dtype=float)
    numbers = np.array([len(each) for each in whole], dtype=float)
    value = float(slim.sum() / max(numbers.sum(), 1))
    bound = value - margin(ratio_error(slim, numbers), len(spans) - 1) if numbers.sum() else 0.0
    source = "the usual anchors span 1:2 to 2:1 (Ren et al. 2015); one box of ten is beyond"
    return Finding("boxes slimmer than 2 to 1", value, bound, SHARE, source)
