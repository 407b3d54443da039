"""From what a dense detector predicts at its locations to the objects of an image."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image


class Detections(NamedTuple):
    """The K objects found in an image, the surest first.

    Args:
        boxes: (x1, y1, x2, y2) in pixels, [K, 4].
        labels: classes, [K].
        scores: in 0..1, [K].
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor


class Decoder(NamedTuple):
    """Keeps the surest boxes, and of boxes of one class that overlap the surest.

    Args:
        threshold: the least score of an object.
        overlap: the IoU from which two boxes of a class are taken for one object.
        candidates: how many boxes of an image are compared at most.
        objects: how many are found at most.
    """

    threshold: float = 0.05
    overlap: float = 0.6
    candidates: int = 1000
    objects: int = 100

    def __call__(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Detections:
        """The objects of one image.

        Args:
            boxes: at each location, [A, 4].
            scores: of each class at each location, [A, C].
            size: (height, width) of the image, to which boxes are clipped.
        """
        best, place = scores.flatten().topk(min(self.candidates, scores.numel()))
        place = place[best > self.threshold]
        best = best[best > self.threshold]
        boxes, labels = clip_boxes_to_image(boxes[place // scores.shape[1]], size), place % scores.shape[1]
        kept = batched_nms(boxes, best, labels, self.overlap)[: self.objects]
        return Detections(boxes[kept], labels[kept], best[kept])


def boxes_at(point: Tensor, sides: Tensor) -> Tensor:
    """The boxes [*, 4] around points [*, 2], given the distances [*, 4] to their sides.

    >>> boxes_at(torch.tensor([10.0, 10.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    tensor([ 9.,  8., 13., 14.])
    """
    return torch.cat([point - sides[..., :2], point + sides[..., 2:]], -1)
