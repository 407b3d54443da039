"""From what users call targets, checked, to evidence and a proposal: one function for each task."""

from collections.abc import Callable

from lightning_losses.advise.findings import Evidence
from lightning_losses.advise.proposal import Proposal
from lightning_losses.advise.tasks import classes, images, numbers, relations

TASKS: dict[str, Callable[..., tuple[Evidence, Proposal]]] = {
    "classification": classes.classification,
    "multilabel": classes.multilabel,
    "ordinal": classes.ordinal,
    "regression": numbers.regression,
    "segmentation": images.segmentation,
    "detection": images.detection,
    "ranking": relations.ranking,
    "metric": relations.metric,
}
