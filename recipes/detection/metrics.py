"""Mean average precision by the protocol of COCO, over all ranks."""

from collections.abc import Sequence
from itertools import chain

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from lightning_losses.distributed import world_size

from .assignment import NOTHING, uncounted
from .decoding import Detections

Images = list[tuple[dict[str, Tensor], dict[str, Tensor]]]
"""(what was found, the truth) of each."""

NAMES = ("map", "map_50", "map_75")


class AveragePrecision:
    """torchmetrics' `MeanAveragePrecision`, gathered at once.

    torchmetrics exchanges an image at a time, and hangs where ranks have unequal numbers of images. Here all objects
    travel in one message, rank 0 evaluates, and every rank gets the result.

    Args:
        class_names: for the average precision of each class.

    >>> import torch
    >>> box, label = torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([0])
    >>> precision = AveragePrecision(["cell"])
    >>> precision.update(Detections(box, label, torch.ones(1)), box, label)
    >>> precision.compute()["map"]
    1.0
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = class_names
        self._images: Images = []

    def update(self, found: Detections, boxes: Tensor, labels: Tensor) -> None:
        """One more image: what was found in it, and its true boxes [M, 4] and labels [M].

        What is found in a box that is `uncounted` counts neither as right nor as wrong.
        """
        boxes, labels = boxes[labels != NOTHING].cpu(), labels[labels != NOTHING].cpu()
        ignored = labels < 0
        truth = {"boxes": boxes, "labels": torch.where(ignored, uncounted(labels), labels), "iscrowd": ignored.long()}
        self._images.append(({name: value.cpu() for name, value in found._asdict().items()}, truth))

    def compute(self, per_class: bool = False) -> dict[str, float]:
        """``map`` (over IoU .50 to .95), ``map_50``, ``map_75``, and ``map/CLASS`` if asked for; forget all images.

        A class without a true box is left out, of the means too; without any true box everything is -1.
        """
        images, self._images = self._images, []
        if world_size() == 1:
            return self._evaluate(images, per_class)
        of_ranks: list[Images] = [[] for _ in range(world_size())]
        dist.all_gather_object(of_ranks, images)
        result = [self._evaluate(list(chain(*of_ranks)), per_class) if dist.get_rank() == 0 else {}]
        dist.broadcast_object_list(result)
        return result[0]

    def _evaluate(self, images: Images, per_class: bool) -> dict[str, float]:
        metric = MeanAveragePrecision(class_metrics=per_class, sync_on_compute=False)
        for found, truth in images:
            metric.update([found], [truth])
        result = metric.compute()
        values = {name: float(result[name]) for name in NAMES}
        if per_class:
            of_classes = zip(result["classes"].reshape(-1), result["map_per_class"].reshape(-1), strict=True)
            values |= {f"map/{self.class_names[int(label)]}": float(value) for label, value in of_classes if value >= 0}
        return values
