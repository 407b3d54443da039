"""Networks by name: the U-Net of this recipe, and torchvision's segmentation models."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models import get_model, list_models, segmentation

from lightning_losses.checks import message, nearest

from .unet import UNet


class Torchvision(nn.Module):
    """A segmentation model of torchvision, from scratch.

    Args:
        name: as in `torchvision.models.list_models(module=torchvision.models.segmentation)`.
        num_classes: channels of the logits.
    """

    def __init__(self, name: str, num_classes: int) -> None:
        super().__init__()
        self.model = get_model(name, weights=None, weights_backbone=None, num_classes=num_classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(logits [N, num_classes, H, W], the same once more: these models show no features)."""
        logits: Tensor = self.model(image)["out"]
        return logits, logits


def build_network(architecture: str, in_channels: int, num_classes: int, channels: Sequence[int]) -> nn.Module:
    """A network from images [N, in_channels, H, W] to (logits, shared features).

    Args:
        architecture: ``"unet"``, or a segmentation model of torchvision.
        in_channels: channels of the image; torchvision's models take 3.
        num_classes: channels of the logits.
        channels: widths of the U-Net.

    Raises:
        ValueError: an unknown architecture; the message names the nearest.
    """
    if architecture == "unet":
        return UNet(in_channels, num_classes, channels)
    known = list_models(module=segmentation)
    if architecture not in known:
        hint = nearest(architecture, ["unet", *known])
        raise ValueError(f"{message('model.architecture', 'the name of a segmentation network', architecture)} {hint}")
    if in_channels != 3:
        raise ValueError(message("model.in_channels", f"3 for {architecture}", in_channels))
    return Torchvision(architecture, num_classes)
