"""What the data sets of this recipe share: images with boxes, as tensors of one shape."""

from typing import NamedTuple

import torch
from torch import Tensor

from .assignment import NOTHING


class Batch(NamedTuple):
    """Images with their boxes; a sample is the same without the first dimension.

    Args:
        image: [N, 3, H, W] of uint8.
        boxes: (x1, y1, x2, y2) in pixels, [N, M, 4]; an image with fewer than M objects is filled up with zeros.
        labels: classes, `NOTHING` for rows that fill up, `uncounted` for what is neither learnt nor counted, [N, M].
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor


def sample(image: Tensor, boxes: Tensor, labels: Tensor, most: int) -> Batch:
    """A sample [3, H, W] whose boxes [K, 4] and labels [K] are filled up to `most` rows."""
    missing = most - len(labels)
    return Batch(
        image,
        torch.cat([boxes.float(), torch.zeros(missing, 4)]),
        torch.cat([labels.long(), torch.full((missing,), NOTHING)]),
    )
