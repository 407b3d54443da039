"""Handwritten digits that come with scikit-learn, and which of them a split may use."""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F


@cache
def handwriting() -> tuple[Tensor, Tensor]:
    """(ink [1797, 1, 40, 40] in 0..1, digit [1797]): the 8x8 originals with a margin of 1, smoothly enlarged."""
    digits = load_digits()
    ink = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    ink = F.interpolate(F.pad(ink, (1, 1, 1, 1)), scale_factor=4, mode="bicubic", align_corners=False).clamp(0, 1)
    return ink, torch.from_numpy(digits.target)


def sources(split: str, seed: int = 0) -> Tensor:
    """Which handwritten digits the images of a split are made of: 70, 10 and 20 percent, disjoint."""
    count = len(handwriting()[1])
    order = np.random.default_rng(seed).permutation(count)
    ends = {"train": (0.0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1.0)}[split]
    begin, end = (round(share * count) for share in ends)
    return torch.from_numpy(order[begin:end])
