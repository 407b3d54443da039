"""Label maps: how much of the pixels each class has, how large objects are, how often a class is absent."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_losses.advise.evidence.components import object_sizes
from lightning_losses.advise.evidence.labels import IMBALANCE
from lightning_losses.advise.findings import Evidence, Finding
from lightning_losses.advise.statistics import LEVEL, Array, margin, ratio_error, share_bounds
from lightning_losses.checks import message

FOREGROUND = 0.05
SMALL = 32 * 32  # pixels; what COCO counts as a small object (Lin et al. 2014)
MOST = 0.5


@dataclass(frozen=True)
class Masks(Evidence):
    """Evidence of label maps.

    Args:
        pixels: of each class in each image [M, C].
        objects: the sizes in pixels of all objects.
    """

    pixels: Array
    objects: Array


def look(masks: Iterable[Array], num_classes: int | None = None) -> Masks:
    """Count pixels and objects.

    Images, not pixels, are what was drawn independently: all errors are taken over images.

    Args:
        masks: label maps [H, W], which may differ in size; class 0 is the background, -1 does not count.
        num_classes: how many classes there are; by default the largest label + 1.
    """
    counted, objects = [], []
    for mask in masks:
        counted.append(np.bincount(mask[mask >= 0]))
        objects.append(object_sizes(mask))
    if not counted:
        raise ValueError(message("targets", "one label map at least", "none"))
    classes = max(num_classes or 0, 2, *map(len, counted))
    pixels = np.stack([np.pad(count, (0, classes - len(count))) for count in counted])
    sizes = np.concatenate(objects)
    return Masks(_facts(pixels, objects), _findings(pixels, objects), pixels, sizes, notes=_notes(pixels))


def _facts(pixels: Array, objects: Sequence[Array]) -> dict[str, str]:
    sizes, shares = np.concatenate(objects), pixels.sum(0) / max(pixels.sum(), 1)
    numbers = [len(found) for found in objects]
    shown = ", ".join(f"{share:.2%}" for share in shares[:6]) + ", ..." * (len(shares) > 6)
    facts = {"images": f"{len(pixels)}", "share of each class's pixels": shown}
    facts["objects of an image"] = f"{min(numbers)} to {max(numbers)}, median {np.median(numbers):g}"
    if len(sizes):
        small, half, large = np.quantile(sizes, (0.1, 0.5, 0.9))
        facts["pixels of an object"] = f"median {half:.0f}, the middle 80 % {small:.0f} to {large:.0f}"
    return facts


def _findings(pixels: Array, objects: Sequence[Array]) -> dict[str, Finding]:
    findings = {}
    if np.count_nonzero(pixels.sum(0)) > 1:
        findings["imbalance"] = imbalance(pixels)
        findings["foreground"] = foreground(pixels)
        findings["absent"] = absent(pixels)
    if sum(len(found) for found in objects):
        findings["small"] = small_objects(objects)
    return findings


def imbalance(pixels: Array) -> Finding:
    """How many times as many pixels as the rarest class the most frequent one has."""
    totals, images = pixels.sum(0), len(pixels)
    most, least = int(totals.argmax()), int(np.where(totals > 0, totals, np.inf).argmin())
    value = float(totals[most] / totals[least])
    error = ratio_error(pixels[:, most], pixels[:, least]) / value  # of the logarithm
    bound = value * math.exp(-margin(error, images - 1, LEVEL / np.count_nonzero(totals) ** 2))
    source = "as for labels (Cui et al. 2019): a pixel is one"
    return Finding("most frequent class / rarest", value, bound, IMBALANCE, source)


def foreground(pixels: Array) -> Finding:
    """The share of the pixels that are not background."""
    objects, totals = pixels[:, 1:].sum(1), pixels.sum(1)
    value = float(objects.sum() / totals.sum())
    bound = value + margin(ratio_error(objects, totals), len(pixels) - 1)
    source = "the small lesions of Abraham and Khan 2019 cover 4.84 %, the large ones 21 %"
    return Finding("share of foreground", value, bound, FOREGROUND, source, below=True)


def absent(pixels: Array) -> Finding:
    """The share of pairs of an image and a class that occurs somewhere, but not in this image."""
    occurring = pixels[:, 1:][:, pixels[:, 1:].sum(0) > 0]
    missing = (occurring == 0).mean(1) if occurring.size else np.zeros(len(pixels))
    value = float(missing.mean())
    bound = float(share_bounds(missing.sum(), len(missing))[0])
    return Finding("classes absent from an image", value, bound, MOST, "then Dice leaves out more than it scores")


def small_objects(objects: Sequence[Array]) -> Finding:
    """The share of objects below 32 x 32 pixels."""
    small = np.array([(sizes < SMALL).sum() for sizes in objects], dtype=float)
    numbers = np.array([len(sizes) for sizes in objects], dtype=float)
    value = float(small.sum() / numbers.sum())
    bound = value - margin(ratio_error(small, numbers), len(objects) - 1)
    return Finding("share of objects below 32 x 32 px", value, bound, MOST, "COCO's small objects; here most")


def _notes(pixels: Array) -> list[str]:
    notes = [f"Class {label} has no pixel." for label in np.flatnonzero(pixels.sum(0) == 0)[:8]]
    if len(pixels) < 4:
        notes.append(f"{len(pixels)} images are too few for a sampling error, so that nothing was concluded from them.")
    return notes
