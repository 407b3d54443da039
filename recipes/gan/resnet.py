"""The residual networks of spectrally normalised GANs, for 32x32 images.

Miyato et al., "Spectral normalization for generative adversarial networks", 2018, `arXiv:1802.05957
<https://arxiv.org/abs/1802.05957>`_.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_losses.checks import check_choice

from .dcgan import NORMS, normalize_spectrally, smallest


class UpBlock(nn.Module):
    """Doubles the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, before, S, S] to [N, after, 2S, 2S]."""
        wide = self.conv1(F.interpolate(F.relu(self.norm1(x)), scale_factor=2.0))
        residual: Tensor = self.conv2(F.relu(self.norm2(wide)))
        shortcut: Tensor = self.shortcut(F.interpolate(x, scale_factor=2.0))
        return residual + shortcut


class Generator(nn.Module):
    """From a latent to an image: a linear layer, then residual blocks that double the size.

    Args:
        latent: numbers of a latent.
        image_channels: 1 or 3.
        size: side length of the image.
        channels: widths, from the smallest picture to the largest.

    Raises:
        ValueError: the size cannot be halved so often.
    """

    def __init__(self, latent: int, image_channels: int, size: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.base = smallest(size, channels)
        self.first = nn.Linear(latent, channels[0] * self.base**2)
        pairs = zip([channels[0], *channels], channels, strict=False)
        self.layers = nn.Sequential(*[UpBlock(*pair) for pair in pairs], nn.BatchNorm2d(channels[-1]), nn.ReLU())
        self.last = nn.Conv2d(channels[-1], image_channels, 3, padding=1)
        self.apply(initialize)

    def forward(self, z: Tensor) -> Tensor:
        """Images [N, C, S, S] in -1..1 from latents [N, D]."""
        picture = self.first(z).unflatten(1, (-1, self.base, self.base))
        image: Tensor = self.last(self.layers(picture)).tanh()
        return image


class DownBlock(nn.Module):
    """Two convolutions beside a shortcut; halves the size if asked to.

    Args:
        before: channels of the input.
        after: channels of the output.
        halve: whether to halve the size.
        first: whether it sees the image itself, which no activation should cut.
    """

    def __init__(self, before: int, after: int, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if halve or before != after else nn.Identity()
        self.halve, self.first = halve, first

    def forward(self, x: Tensor) -> Tensor:
        """[N, before, S, S] to [N, after, S, S] or [N, after, S/2, S/2]."""
        start = x if self.first else F.relu(x)
        out = self.conv2(F.relu(self.conv1(start))) + self.shortcut(x)
        return F.avg_pool2d(out, 2) if self.halve else out


class Discriminator(nn.Module):
    """Four residual blocks, of which two halve the size, then the sum over all places.

    Args:
        image_channels: 1 or 3.
        channels: its width.
        norm: ``"spectral"`` or ``"none"``.

    Raises:
        ValueError: another norm.
    """

    def __init__(self, image_channels: int, channels: int, norm: str) -> None:
        super().__init__()
        check_choice("model.norm", norm, [name for name in NORMS if name != "batch"])
        self.layers = nn.Sequential(
            DownBlock(image_channels, channels, halve=True, first=True),
            DownBlock(channels, channels, halve=True),
            DownBlock(channels, channels, halve=False),
            DownBlock(channels, channels, halve=False),
            nn.ReLU(),
        )
        self.features = channels
        self.last = nn.Linear(channels, 1)
        self.apply(initialize)
        if norm == "spectral":
            normalize_spectrally(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N] and the features [N, F] they are read from, of images [N, C, S, S] in -1..1."""
        features = self.layers(image).sum((2, 3))
        return self.last(features).squeeze(1), features


def initialize(module: nn.Module) -> None:
    """Glorot's, as residual blocks are usually begun with."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
