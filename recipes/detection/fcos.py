"""The detector of this recipe: FCOS on a small network."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_losses.checks import check_choice, message
from lightning_losses.functional import iou_loss

from .assignment import NOTHING, assign
from .decoding import Decoder, Detections, boxes_at
from .locations import Locations, locations
from .network import Dense, Head, Pyramid

SCORES = ("centerness", "class")


class FCOS(nn.Module):
    """Every location says what object it lies in, how far that one's sides are, and how central it lies.

    Tian et al. 2019, `arXiv:1904.01355 <https://arxiv.org/abs/1904.01355>`_.

    Args:
        num_classes: classes.
        in_channels: channels of the image.
        channels: widths of the network's levels, at strides 2, 4, 8, ...; the last three find objects.
        width: channels of the pyramid and of the head.
        depth: convolutions of each of the head's towers.
        limits: how far the boxes reach that the finest level finds, and those of the next, in pixels.
        decoder: what is taken for an object.
        score: how sure an object is: ``"centerness"``, the geometric mean of the probabilities of class and centerness,
            or ``"class"``, that of the class alone, trained by a varifocal loss.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        channels: Sequence[int],
        width: int,
        depth: int,
        limits: tuple[float, float],
        decoder: Decoder,
        score: str = "centerness",
    ) -> None:
        super().__init__()
        if not 0 < limits[0] < limits[1]:
            raise ValueError(message("model.limits", "two increasing numbers above 0", list(limits)))
        self.pyramid = Pyramid(in_channels, channels, width)
        self.head = Head(width, depth, num_classes)
        self.num_classes = num_classes
        self.limits = limits
        self.decoder = decoder
        self.score = check_choice("model.score", score, SCORES)

    def forward(self, image: Tensor) -> tuple[Dense, Locations, list[Tensor]]:
        """What is predicted, where, and the levels of the pyramid that all of it comes from."""
        levels = self.pyramid(image)
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        return self.head(levels), locations(sizes, self.pyramid.strides, self.limits, image.device), levels

    def losses(self, image: Tensor, boxes: Tensor, labels: Tensor) -> dict[str, Any]:
        """What the terms of the criterion may ask for.

        Returns:
            ``logits``, ``classes`` and ``quality`` (the IoU of the predicted box with the true one at its class, a
            constant to the gradient) [N, A, C], ``boxes`` and ``true_boxes`` [N, A, 4], ``centerness`` and
            ``true_centerness`` [N, A], ``positive`` [N, A] (whether a location finds an object), and ``shared``.
        """
        dense, where, levels = self(image)
        targets = assign(where, boxes, labels)
        predicted = predicted_boxes(dense, where)
        classes = F.one_hot(targets.label - NOTHING, self.num_classes + 1)[..., 1:]
        overlap = 1 - iou_loss(predicted.detach(), targets.box)
        return {
            "logits": dense.logits,
            "classes": classes,
            "quality": classes * overlap.unsqueeze(-1),
            "boxes": predicted,
            "true_boxes": targets.box,
            "centerness": dense.centerness,
            "true_centerness": targets.centerness,
            "positive": targets.label != NOTHING,
            "shared": levels,
        }

    def detect(self, image: Tensor) -> list[Detections]:
        """The objects of each image."""
        dense, where, _ = self(image)
        size = (image.shape[-2], image.shape[-1])
        scores = dense.logits.sigmoid()
        if self.score == "centerness":
            scores = (scores * dense.centerness.sigmoid().unsqueeze(-1)).sqrt()
        pairs = zip(predicted_boxes(dense, where), scores, strict=True)
        return [self.decoder(of_image, score, size) for of_image, score in pairs]


def predicted_boxes(dense: Dense, where: Locations) -> Tensor:
    """The box that each location sees, [N, A, 4]."""
    return boxes_at(where.point, dense.sides * where.stride.unsqueeze(-1))
