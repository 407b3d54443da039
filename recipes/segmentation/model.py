"""Segmentation with a composed, balanced and monitored loss."""

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
from lightning_losses.recipes.sharding import broadcast_buffers, shard

from .distances import signed_distances
from .metrics import Overlap, confusion_table
from .networks import build_network
from .plot import prediction_figure

Batch = tuple[Tensor, Tensor]
"""(image [N, C, H, W] of uint8 in 0..255 or floating in 0..1, mask [N, H, W] of class indices)."""

SHOWN = 6  # samples of the picture


class Segmenter(LightningModule):
    """A network that gives every pixel a class.

    Args:
        criterion: the loss, as `LossModule.from_config` takes it. Its terms take ``input`` (logits) and ``target`` (the
            mask), or ask by `inputs` for ``distances`` (see `signed_distances`) and ``counted`` (which pixels count).
        num_classes: classes, the background being class 0.
        class_names: for the picture; default "class 0", ...
        architecture: ``"unet"`` or a segmentation model of torchvision, such as ``"lraspp_mobilenet_v3_large"``.
        in_channels: channels of the image.
        channels: widths of the U-Net's levels.
        lr: AdamW's learning rate, its peak.
        weight_decay: AdamW's.
        schedule: of the learning rate over the whole training, step by step: ``"onecycle"`` (warm-up, then cosine to
            zero) or ``"cosine"``.
        ignore_index: the label of pixels that do not count in the metrics; the losses have their own.

    Raises:
        ValueError: an argument out of its range, or an unknown architecture.
    """

    def __init__(
        self,
        criterion: dict[str, Any],
        num_classes: int,
        class_names: list[str] | None = None,
        architecture: str = "unet",
        in_channels: int = 3,
        channels: tuple[int, ...] = (16, 32, 64, 128),
        lr: float = 3e-3,
        weight_decay: float = 1e-2,
        schedule: Literal["onecycle", "cosine"] = "onecycle",
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # so that `load_from_checkpoint` needs nothing but the file
        check_number("model.num_classes", num_classes, at_least=2)
        self.class_names = class_names or [f"class {index}" for index in range(num_classes)]
        if len(self.class_names) != num_classes:
            raise ValueError(message("model.class_names", f"{num_classes} names (num_classes)", self.class_names))
        self.network = build_network(architecture, in_channels, num_classes, channels)
        self.network.to(memory_format=torch.channels_last)
        self.criterion = LossModule.from_config(criterion)
        check_optimization(lr, weight_decay, schedule)
        self.lr, self.weight_decay, self.schedule = lr, weight_decay, schedule
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.val_overlap = Overlap(num_classes, ignore_index)
        self.test_overlap = Overlap(num_classes, ignore_index)
        self._shown: list[tuple[Tensor, Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        """Refuse data of another number of classes."""
        check_classes(self.trainer, self.num_classes)

    def configure_model(self) -> None:
        """Under FSDP2, shard the network over the ranks, level by level."""
        shard(self, self.network)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [N, num_classes, H, W]."""
        return self._features(image)[0]

    def _features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if not image.is_floating_point():
            image = image / 255
        logits, features = self.network(image.contiguous(memory_format=torch.channels_last))
        return logits, features

    def on_train_start(self) -> None:
        """Refuse to go on with a learning rate that was scheduled for a training of another length."""
        check_length(self)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The composed loss; its parts are logged by name."""
        image, mask = batch
        logits, features = self._features(image)
        loss: Tensor = self.criterion(**self._offered(logits, mask), shared=features)
        report = self.criterion.report
        self.log("train/loss", loss, prog_bar=True)
        for kind, values in ("raw", report.raw), ("weighted", report.weighted):  # NormalizedLossMonitor logs more
            self.log_dict({f"train/{kind}/{name}": value for name, value in values.items()})
        return loss

    def _offered(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        offered = {"input": logits, "target": mask}
        if "distances" in self.criterion.inputs:
            offered["distances"] = signed_distances(mask, self.num_classes)
        if "counted" in self.criterion.inputs:
            offered["counted"] = mask != (-1 if self.ignore_index is None else self.ignore_index)
        return {key: value for key, value in offered.items() if key in self.criterion.inputs}

    def on_after_backward(self) -> None:
        """Keep the same running statistics on all ranks, under FSDP2 too."""
        broadcast_buffers(self, self.network)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count pixels, and log the loss."""
        self._evaluate(batch, batch_idx, "val", self.val_overlap)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count pixels, log the loss, and keep the first samples for the picture."""
        prediction = self._evaluate(batch, batch_idx, "test", self.test_overlap)
        for sample in zip(*batch, prediction, strict=True):
            if len(self._shown) < SHOWN:
                self._shown.append(tuple(tensor.cpu() for tensor in sample))

    def _evaluate(self, batch: Batch, batch_idx: int, split: str, overlap: Overlap) -> Tensor:
        image, mask = batch
        logits = self(image)
        prediction: Tensor = logits.argmax(1)
        own = own_samples(self.trainer, batch_idx, len(image))
        overlap.update(prediction[:own], mask[:own])
        loss = self.criterion(**self._offered(logits, mask))
        self.log(f"{split}/loss", loss, batch_size=len(image), sync_dist=True)
        return prediction

    def on_validation_epoch_end(self) -> None:
        """Mean IoU and Dice of the validation set."""
        self._log_overlap("val", self.val_overlap)

    def on_test_epoch_end(self) -> None:
        """Mean IoU and Dice of the test set, what is taken for what, and a picture of its first samples."""
        confusion = self._log_overlap("test", self.test_overlap)
        if self.trainer.is_global_zero:
            log_table(self.trainer, "test/confusion", *confusion_table(confusion, self.class_names))
            figure = prediction_figure(self._shown, self.class_names)
            log_figure(self.trainer, "test/predictions", figure, Path(self.trainer.default_root_dir, "predictions.png"))
        self._shown.clear()

    def _log_overlap(self, split: str, overlap: Overlap) -> Tensor:
        values = overlap.compute()
        confusion = values.pop("confusion")
        values = {f"{split}/{name}": value for name, value in values.items()}
        self.log_dict(values, prog_bar=True, sync_dist=True)  # the same on all ranks, which Lightning cannot know
        overlap.reset()
        return confusion

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its learning rate scheduled step by step."""
        return scheduled_adamw(self, self.lr, self.weight_decay, self.schedule)
