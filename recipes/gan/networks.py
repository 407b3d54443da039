"""A generator and its discriminator by name."""

from collections.abc import Sequence

import torch
from torch import nn

from lightning_losses.checks import check_choice

from . import dcgan, resnet

ARCHITECTURES = ("dcgan", "resnet")


def build_networks(
    architecture: str, latent: int, image_channels: int, size: int, channels: Sequence[int], norm: str
) -> tuple[nn.Module, dcgan.Discriminator | resnet.Discriminator]:
    """A generator and a discriminator, channels last.

    Args:
        architecture: ``"dcgan"`` or ``"resnet"``.
        latent: numbers of a latent.
        image_channels: 1 or 3.
        size: side length of the images.
        channels: widths of the generator, from the smallest picture to the largest.
        norm: of the discriminator, one of `dcgan.NORMS`.

    Raises:
        ValueError: an unknown name, or a size that does not fit the number of widths.
    """
    check_choice("model.architecture", architecture, ARCHITECTURES)
    generator: nn.Module
    discriminator: dcgan.Discriminator | resnet.Discriminator
    if architecture == "dcgan":
        generator = dcgan.Generator(latent, image_channels, size, channels)
        discriminator = dcgan.Discriminator(image_channels, size, channels[::-1], norm)
    else:
        generator = resnet.Generator(latent, image_channels, size, channels)
        discriminator = resnet.Discriminator(image_channels, channels[0] // 2, norm)
    generator.to(memory_format=torch.channels_last)
    discriminator.to(memory_format=torch.channels_last)
    return generator, discriminator
