"""The networks of DCGAN: strided convolutions and nothing else."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_losses.checks import check_choice, message

NORMS = ("batch", "spectral", "none")


class Generator(nn.Module):
    """From a latent to an image: a linear layer, then transposed convolutions that double the size.

    Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial networks",
    2015, `arXiv:1511.06434 <https://arxiv.org/abs/1511.06434>`_.

    Args:
        latent: numbers of a latent.
        image_channels: 1 or 3.
        size: side length of the image, which the number of `channels` must be able to halve so often.
        channels: widths, from the smallest picture to the largest.

    Raises:
        ValueError: the size cannot be halved so often.
    """

    def __init__(self, latent: int, image_channels: int, size: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.base = smallest(size, channels)
        self.first = nn.Linear(latent, channels[0] * self.base**2)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels[0]), nn.ReLU()]
        for narrow, wide in zip(channels[1:], channels, strict=False):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.ConvTranspose2d(channels[-1], image_channels, 4, 2, 1)
        self.apply(initialize)

    def forward(self, z: Tensor) -> Tensor:
        """Images [N, C, S, S] in -1..1 from latents [N, D]."""
        picture = self.first(z).unflatten(1, (-1, self.base, self.base))
        image: Tensor = self.last(self.layers(picture)).tanh()
        return image


class Discriminator(nn.Module):
    """The generator upside down: strided convolutions that halve the size, then a linear layer.

    Args:
        image_channels: 1 or 3.
        size: side length of the image.
        channels: widths, from the largest picture to the smallest.
        norm: ``"batch"`` (of all layers but the first), ``"spectral"`` (of all weights) or ``"none"``.

    Raises:
        ValueError: an unknown norm, or the size cannot be halved so often.
    """

    def __init__(self, image_channels: int, size: int, channels: Sequence[int], norm: str) -> None:
        super().__init__()
        check_choice("model.norm", norm, NORMS)
        base = smallest(size, channels)
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip([image_channels, *channels], channels, strict=False)):
            batch = norm == "batch" and index > 0
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=not batch), *([nn.BatchNorm2d(after)] if batch else [])]
            layers += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.features = channels[-1] * base**2
        self.last = nn.Linear(self.features, 1)
        self.apply(initialize)
        if norm == "spectral":
            normalize_spectrally(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N] and the features [N, F] they are read from, of images [N, C, S, S] in -1..1."""
        features = self.layers(image)
        return self.last(features).squeeze(1), features


def smallest(size: int, channels: Sequence[int]) -> int:
    """The side length that is left of `size` after a halving for each of the `channels`.

    Raises:
        ValueError: it cannot be halved so often.
    """
    base, rest = divmod(size, 1 << len(channels))
    if rest or not base or not channels:
        raise ValueError(message("model.size", f"a multiple of {2 ** len(channels)} ({len(channels)} halvings)", size))
    return base


def initialize(module: nn.Module) -> None:
    """DCGAN's: small Gaussian weights."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def normalize_spectrally(network: nn.Module) -> None:
    """Divide every weight by its greatest singular value."""
    for module in list(network.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            spectral_norm(module)
