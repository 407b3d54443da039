"""How far each pixel is from the boundary of each class, as boundary losses ask."""

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def signed_distances(mask: Tensor, num_classes: int) -> Tensor:
    r"""The signed distance :math:`\phi_c` of each pixel to the boundary of class c, relative to the image's diagonal.

    Below 0 inside of the class, above 0 outside, 0 everywhere for a class that an image does not have or that fills it.
    Relative, so that images of any size cost alike.

    Args:
        mask: class indices [N, H, W]; others, such as an ignored label, belong to no class.
        num_classes: classes C.

    Returns:
        [N, C, H, W] in float32, on the mask's device.

    >>> signed_distances(torch.tensor([[[0, 0, 0, 1]]]), 2)[0, 1] * 17**0.5  # of class 1, in pixels
    tensor([[ 3.,  2.,  1., -1.]])
    """
    height, width = mask.shape[-2:]
    distances = np.zeros((len(mask), num_classes, height, width), dtype=np.float32)
    for image, labels in zip(distances, mask.cpu().numpy(), strict=True):
        for label in np.unique(labels[(labels >= 0) & (labels < num_classes)]):
            region = labels == label
            if not region.all():
                image[label] = distance_transform_edt(~region) - distance_transform_edt(region)
    return torch.from_numpy(distances / math.hypot(height, width)).to(mask.device)
