"""A plain convolutional network with a feature pyramid, and the head that all of its levels share."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_losses.checks import message

PRIOR = 0.01
"""The probability of every class at every location before training: of so many locations, few see an object."""

TYPICAL = 4.0
"""Strides from a location to the sides of a box, by the order of magnitude: the unit that they are predicted in."""


class Dense(NamedTuple):
    """What is predicted at each of A locations of N images.

    Args:
        logits: of each class, [N, A, C].
        sides: distances to the left, top, right and bottom of the box, in strides, above 0, [N, A, 4].
        centerness: a logit, [N, A].
    """

    logits: Tensor
    sides: Tensor
    centerness: Tensor


class Pyramid(nn.Module):
    """3x3 convolutions, two on each level, and a feature pyramid over the last three levels.

    Lin et al. 2017, `arXiv:1612.03144 <https://arxiv.org/abs/1612.03144>`_.

    Args:
        in_channels: channels of the image.
        channels: widths of the levels, at strides 2, 4, 8, ...; at least three.
        width: channels of the pyramid.

    >>> import torch
    >>> [tuple(level.shape) for level in Pyramid(3, (4, 4, 4, 4, 4), 8)(torch.zeros(1, 3, 64, 96))]
    [(1, 8, 8, 12), (1, 8, 4, 6), (1, 8, 2, 3)]
    """

    def __init__(self, in_channels: int, channels: Sequence[int], width: int) -> None:
        super().__init__()
        if len(channels) < 3 or min(channels) < 1:
            raise ValueError(message("model.channels", "at least three widths of at least 1", list(channels)))
        first, *widths = channels
        self.stem = convolution(in_channels, first, stride=2)
        self.levels = nn.ModuleList(
            nn.Sequential(convolution(a, b, stride=2), convolution(b, b)) for a, b in pairwise([first, *widths])
        )
        self.strides = [2**level for level in range(len(channels) - 2, len(channels) + 1)]
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, kernel_size=1) for count in channels[-3:])
        self.smooth = nn.ModuleList(convolution(width, width) for _ in self.strides)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The three levels [N, width, H / stride, W / stride], the finest first."""
        levels = [self.stem(image)]
        for block in self.levels:
            levels.append(block(levels[-1]))
        merged = [lateral(level) for lateral, level in zip(self.lateral, levels[-3:], strict=True)]
        for fine, coarse in ((1, 2), (0, 1)):
            merged[fine] = merged[fine] + F.interpolate(merged[coarse], size=merged[fine].shape[-2:])
        return [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]


class Head(nn.Module):
    """Class, box and centerness at every cell of every level, by the same convolutions on all of them.

    Args:
        width: channels of the pyramid.
        depth: convolutions before the last, in the tower of the classes and in that of the boxes.
        num_classes: classes.
    """

    def __init__(self, width: int, depth: int, num_classes: int) -> None:
        super().__init__()
        self.class_tower = nn.Sequential(*(shared_convolution(width) for _ in range(depth)))
        self.box_tower = nn.Sequential(*(shared_convolution(width) for _ in range(depth)))
        self.logits = predictor(width, num_classes, bias=math.log(PRIOR / (1 - PRIOR)))
        self.box = predictor(width, 5)  # four sides and the centerness

    def forward(self, levels: Sequence[Tensor]) -> Dense:
        """What is predicted at all locations of all levels, in float32."""
        logits = _rows(self.logits(self.class_tower(level)) for level in levels)
        box = _rows(self.box(self.box_tower(level)) for level in levels)
        return Dense(logits, F.softplus(box[..., :4]) * TYPICAL, box[..., 4])


def convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def shared_convolution(width: int) -> nn.Sequential:
    """3x3 convolution, group normalisation, ReLU: levels that share it differ in their statistics."""
    return nn.Sequential(
        nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
        nn.GroupNorm(math.gcd(8, width), width),
        nn.ReLU(inplace=True),
    )


def predictor(width: int, outputs: int, bias: float = 0.0) -> nn.Conv2d:
    """The last 3x3 convolution of a tower, which begins with almost the same answer everywhere."""
    layer = nn.Conv2d(width, outputs, kernel_size=3, padding=1)
    nn.init.normal_(layer.weight, std=0.01)
    layer.bias = nn.Parameter(torch.full((outputs,), bias))
    return layer


def _rows(levels: Iterable[Tensor]) -> Tensor:
    """[N, A, C] in float32, from levels [N, C, H, W]."""
    return torch.cat([level.flatten(2).transpose(1, 2).float() for level in levels], 1)
