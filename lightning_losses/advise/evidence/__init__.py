"""What can be seen in targets, one file for each kind of them."""

from lightning_losses.advise.evidence import (
    annotators,
    boxes,
    identities,
    labels,
    masks,
    multilabel,
    numbers,
    predictions,
    rankings,
)

__all__ = [
    "annotators",
    "boxes",
    "identities",
    "labels",
    "masks",
    "multilabel",
    "numbers",
    "predictions",
    "rankings",
]
