"""Targets that lie in images."""

from collections.abc import Mapping
from typing import Any

from lightning_losses.advise import evidence, inputs, rules
from lightning_losses.advise.evidence.masks import Masks
from lightning_losses.advise.findings import Evidence
from lightning_losses.advise.proposal import Proposal


def segmentation(
    targets: Any, num_classes: int | None = None, ignore_index: int | None = None
) -> tuple[Masks, Proposal]:
    """Label maps [N, H, W], or [H, W] each; they may be read one by one."""
    maps = (inputs.label_map(image, ignore_index) for image in inputs.each("targets", targets))
    seen = evidence.masks.look(maps, num_classes)
    return seen, rules.images.segmentation(seen, ignore_index)


def detection(targets: Any) -> tuple[Evidence, Proposal]:
    """Boxes [n, 4] of each image, or a mapping of boxes, labels and size."""
    images = inputs.sequence("targets", targets)
    boxes, labels = zip(*map(inputs.boxes, images), strict=True)
    sizes = [image.get("size") if isinstance(image, Mapping) else None for image in images]
    seen = evidence.boxes.look(
        boxes,
        labels if all(of_image is not None for of_image in labels) else None,
        [(size[0], size[1]) for size in sizes if size is not None] if None not in sizes else None,
    )
    return seen, rules.images.detection(seen)
