"""A small U-Net."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_losses.checks import message


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015, `arXiv:1505.04597 <https://arxiv.org/abs/1505.04597>`_).

    Each level is two 3x3 convolutions with batch normalisation and ReLU; levels are joined by 2x2 max pooling on the
    way down and nearest-neighbour upsampling on the way up. Convolutions are padded, so the output has the size of the
    input, and any size of at least 2^(levels - 1) goes through.

    Args:
        in_channels: channels of the image.
        num_classes: channels of the logits.
        channels: width of each level, from full resolution down.

    >>> import torch
    >>> logits, features = UNet(3, 11, channels=(4, 8))(torch.zeros(1, 3, 9, 15))
    >>> logits.shape, features.shape
    (torch.Size([1, 11, 9, 15]), torch.Size([1, 4, 9, 15]))
    """

    def __init__(self, in_channels: int, num_classes: int, channels: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise ValueError(message("channels", "one width of at least 1 per level", list(channels)))
        self.down = nn.ModuleList(double_conv(a, b) for a, b in pairwise([in_channels, *channels]))
        self.up = nn.ModuleList(double_conv(a + b, a) for a, b in reversed(list(pairwise(channels))))
        self.head = nn.Conv2d(channels[0], num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(logits [N, num_classes, H, W], the features [N, channels[0], H, W] before the 1x1 head)."""
        x = self.down[0](image)
        skips = []
        for block in self.down[1:]:
            skips.append(x)
            x = block(F.max_pool2d(x, 2))
        for block in self.up:
            skip = skips.pop()
            x = block(torch.cat([skip, F.interpolate(x, size=skip.shape[-2:])], dim=1))
        return self.head(x), x


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Twice: 3x3 convolution, batch normalisation, ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
