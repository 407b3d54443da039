"""Detectors by name: the FCOS of this recipe, and those of torchvision."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torchvision.models import detection, get_model, list_models
from torchvision.ops import StochasticDepth

from lightning_losses.checks import message, nearest

from .decoding import Detections

MODAL = (_BatchNorm, _DropoutNd, StochasticDepth)


class Torchvision(nn.Module):
    """A detector of torchvision, from scratch; its losses are already computed when a criterion gets them.

    It normalises them by the objects of each rank, not of all.

    Args:
        name: as in `torchvision.models.list_models(module=torchvision.models.detection)`.
        num_classes: classes, to which torchvision adds the background as class 0.
        options: further arguments of the model, such as `min_size` and `max_size`, to which it resizes.
    """

    def __init__(self, name: str, num_classes: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        given = {"weights": None, "weights_backbone": None, **options}
        self.model = get_model(name, num_classes=num_classes + 1, **given)

    def losses(self, image: Tensor, boxes: Tensor, labels: Tensor) -> dict[str, Any]:
        """The losses by torchvision's names."""
        targets = [
            {"boxes": of_image[label >= 0], "labels": label[label >= 0] + 1}
            for of_image, label in zip(boxes, labels, strict=True)
        ]
        with _giving_losses(self.model):
            values: dict[str, Any] = self.model(list(image), targets)
        return values

    def detect(self, image: Tensor) -> list[Detections]:
        """The objects of each image."""
        found = []
        for result in self.model(list(image)):
            objects = result["labels"] > 0
            found.append(Detections(result["boxes"][objects], result["labels"][objects] - 1, result["scores"][objects]))
        return found


@contextmanager
def _giving_losses(model: nn.Module) -> Iterator[None]:
    """Torchvision's detectors give losses in training mode alone; monitors ask for them in evaluation mode too.

    What computes otherwise there, as BatchNorm and dropout do, stays as it is.
    """
    asleep = [module for module in model.modules() if not module.training and not isinstance(module, MODAL)]
    for module in asleep:
        module.training = True
    try:
        yield
    finally:
        for module in asleep:
            module.training = False


def build_torchvision(architecture: str, num_classes: int, options: Mapping[str, Any]) -> Torchvision:
    """A detector of torchvision.

    Raises:
        ValueError: an unknown architecture (the message names the nearest), or options that it does not take.
    """
    known = list_models(module=detection)
    if architecture not in known:
        hint = nearest(architecture, ["fcos", *known])
        raise ValueError(f"{message('model.architecture', 'the name of a detector', architecture)} {hint}")
    try:
        return Torchvision(architecture, num_classes, options)
    except TypeError as error:
        raise ValueError(message("model.options", f"arguments of {architecture}", dict(options))) from error
