"""Detection with a composed, balanced and monitored loss."""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lightning_losses import LossModule
from lightning_losses.callbacks.figures import log_figure
from lightning_losses.callbacks.tables import log_table
from lightning_losses.checks import check_number, message
from lightning_losses.recipes.data import check_classes, own_samples
from lightning_losses.recipes.optimization import check_length, check_optimization, scheduled_adamw

from .data import Batch
from .decoding import Decoder, Detections
from .detectors import Torchvision, build_torchvision
from .fcos import FCOS
from .metrics import AveragePrecision
from .plot import Shown, detection_figure

SHOWN = 6  # samples of the picture


class Detector(LightningModule):
    """A network that finds objects and draws boxes around them.

    Args:
        criterion: the loss, as `LossModule.from_config` takes it. Its terms ask by `inputs` for what `FCOS.losses`
            returns; a detector of torchvision has computed its losses already, and terms without a `loss` take them by
            their names.
        num_classes: classes; what is in no box has none.
        class_names: for the picture and the metrics; default "class 0", ...
        architecture: ``"fcos"`` or a detector of torchvision, such as ``"fasterrcnn_resnet50_fpn"``.
        in_channels: channels of the image.
        channels: widths of the FCOS's levels, at strides 2, 4, 8, ...; the last three find objects.
        width: channels of its pyramid and head.
        depth: convolutions of each of its head's towers.
        limits: how far the boxes reach that its finest level finds, and those of the next, in pixels.
        score_threshold: the least score of an object of the FCOS; of torchvision's detectors, see `options`.
        score: of an object of the FCOS: ``"centerness"``, by class and centerness, or ``"class"``, for varifocal loss.
        overlap: the IoU from which two boxes of a class are taken for one object of the FCOS.
        options: arguments of torchvision's detector, such as `min_size`, or `box_score_thresh` (of R-CNNs) and
            `score_thresh` (of others).
        lr: AdamW's learning rate, its peak.
        weight_decay: AdamW's.
        schedule: of the learning rate over the whole training, step by step: ``"onecycle"`` (warm-up, then cosine to
            zero) or ``"cosine"``.

    Raises:
        ValueError: an argument out of its range, or an unknown architecture.
    """

    def __init__(
        self,
        criterion: dict,  # type: ignore[type-arg]  # bare: LightningCLI would build the classes inside of another
        num_classes: int,
        class_names: list[str] | None = None,
        architecture: str = "fcos",
        in_channels: int = 3,
        channels: tuple[int, ...] = (16, 32, 64, 128, 256),
        width: int = 64,
        depth: int = 2,
        limits: tuple[float, float] = (64.0, 128.0),
        score_threshold: float = 0.05,
        score: Literal["centerness", "class"] = "centerness",
        overlap: float = 0.6,
        options: dict[str, Any] | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        schedule: Literal["onecycle", "cosine"] = "onecycle",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # so that `load_from_checkpoint` needs nothing but the file
        check_number("model.num_classes", num_classes, at_least=1)
        self.class_names = class_names or [f"class {index}" for index in range(num_classes)]
        if len(self.class_names) != num_classes:
            raise ValueError(message("model.class_names", f"{num_classes} names (num_classes)", self.class_names))
        check_number("model.score_threshold", score_threshold, at_least=0, below=1)
        check_number("model.overlap", overlap, at_least=0, at_most=1)
        check_optimization(lr, weight_decay, schedule)
        self.detector: FCOS | Torchvision
        if architecture == "fcos":
            decoder = Decoder(score_threshold, overlap)
            self.detector = FCOS(num_classes, in_channels, channels, width, depth, limits, decoder, score)
        else:
            check_number("model.in_channels", in_channels, at_least=3, at_most=3)  # as torchvision's detectors have
            self.detector = build_torchvision(architecture, num_classes, options or {})
        self.detector.to(memory_format=torch.channels_last)
        self.criterion = LossModule.from_config(criterion)
        self.lr, self.weight_decay, self.schedule = lr, weight_decay, schedule
        self.precision_metric = AveragePrecision(self.class_names)
        self._shown: list[Shown] = []

    def setup(self, stage: str) -> None:
        """Refuse data of another number of classes."""
        check_classes(self.trainer, len(self.class_names))

    def forward(self, image: Tensor) -> list[Detections]:
        """The objects of each image [N, C, H, W], of uint8 in 0..255 or floating in 0..1; in evaluation mode."""
        return self.detector.detect(self._prepared(image))

    def _prepared(self, image: Tensor) -> Tensor:
        if not image.is_floating_point():
            image = image / 255
        return image.contiguous(memory_format=torch.channels_last)

    def on_train_start(self) -> None:
        """Refuse to go on with a learning rate that was scheduled for a training of another length."""
        check_length(self)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The composed loss; its parts are logged by name."""
        offered = self.detector.losses(self._prepared(batch.image), batch.boxes, batch.labels)
        loss: Tensor = self.criterion(**{key: value for key, value in offered.items() if key in self.criterion.inputs})
        report = self.criterion.report
        self.log("train/loss", loss, prog_bar=True)
        for kind, values in ("raw", report.raw), ("weighted", report.weighted):  # NormalizedLossMonitor logs more
            self.log_dict({f"train/{kind}/{name}": value for name, value in values.items()})
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Find objects."""
        self._evaluate(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Find objects, and keep the first samples for the picture."""
        found = self._evaluate(batch, batch_idx)
        for image, boxes, labels, objects in zip(*batch, found, strict=True):
            if len(self._shown) < SHOWN:
                self._shown.append(Shown.of(image, boxes, labels, objects))

    def _evaluate(self, batch: Batch, batch_idx: int) -> list[Detections]:
        found: list[Detections] = self(batch.image)
        own = own_samples(self.trainer, batch_idx, len(found))
        for image in zip(found[:own], batch.boxes[:own], batch.labels[:own], strict=True):
            self.precision_metric.update(*image)
        return found

    def on_validation_epoch_end(self) -> None:
        """Average precision on the validation set."""
        self._log_precision("val")

    def on_test_epoch_end(self) -> None:
        """Average precision on the test set, of each class too, and a picture of its first samples."""
        values = self._log_precision("test")
        if self.trainer.is_global_zero:
            rows: list[list[str | float]] = [[name, values.get(f"map/{name}", math.nan)] for name in self.class_names]
            log_table(self.trainer, "test/classes", ["class", "average precision"], rows)
            figure = detection_figure(self._shown, self.class_names)
            log_figure(self.trainer, "test/predictions", figure, Path(self.trainer.default_root_dir, "predictions.png"))
        self._shown.clear()

    def _log_precision(self, split: str) -> dict[str, float]:
        values = self.precision_metric.compute(per_class=split == "test")
        self.log_dict({f"{split}/{name}": value for name, value in values.items()}, prog_bar=True, sync_dist=True)
        return values

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its learning rate scheduled step by step."""
        return scheduled_adamw(self, self.lr, self.weight_decay, self.schedule)
