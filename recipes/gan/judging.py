"""A generator's samples against real images: the half of the model that does not train."""

from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from lightning_losses.callbacks.figures import log_figure
from lightning_losses.callbacks.tables import log_table
from lightning_losses.recipes.data import own_samples

from .data import Batch, ImageData
from .fid import fid
from .latents import Latents
from .lenet import shared_lenet
from .plot import quality_figure
from .quality import SampleQuality

SHOWN = 64  # images of the picture


class Judged(LightningModule):
    """Draws as many samples as there are real images, always from the same latents, and measures their quality.

    A subclass sets the annotated attributes in `__init__`.

    Attributes:
        latents: what the generator starts from.
        average: the generator that samples are drawn from.
        lenet_steps: how long the classifier is trained in whose features samples are judged.
        inception: where the weights of the network come from in whose features the test judges too, see
            `check_inception`.
        seed: of that classifier, and of the latents.
    """

    latents: Latents
    average: AveragedModel
    lenet_steps: int
    inception: str | None
    seed: int

    def __init__(self) -> None:
        super().__init__()
        self._quality: SampleQuality | None = None
        self._noise = torch.empty(0)
        self._real: list[Tensor] = []
        self._fake: list[Tensor] = []

    @torch.no_grad()
    def forward(self, z: Tensor) -> Tensor:
        """Samples [N, C, S, S] of uint8, from latents [N, D], by the average of the generator."""
        self.average.eval()
        return as_bytes(self.average(z))

    def on_validation_start(self) -> None:
        """Make ready to judge."""
        self._prepare_to_judge(cast(Any, self.trainer.val_dataloaders).dataset)

    def on_test_start(self) -> None:
        """Make ready to judge."""
        self._prepare_to_judge(cast(Any, self.trainer.test_dataloaders).dataset)

    def _prepare_to_judge(self, images: Any) -> None:
        self._noise = self.latents.fixed(len(images), self.seed).z
        if self._quality is None:
            data = cast(ImageData, cast(Any, self.trainer).datamodule)
            with torch.inference_mode(False):  # the classifier is trained, be it in the middle of a test
                lenet = shared_lenet(self.trainer, data.make("train"), self.lenet_steps, self.seed)
            self._quality = SampleQuality(lenet)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """As many samples as real images."""
        self._judge(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """As many samples as real images; the first are kept for the picture."""
        for kept, images in zip((self._real, self._fake), self._judge(batch, batch_idx), strict=True):
            kept.extend(images[: SHOWN - len(kept)].cpu())

    def _judge(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Real images and samples."""
        assert self._quality is not None
        own = own_samples(self.trainer, batch_idx, len(batch.image))
        real, fake = batch.image[:own], self(self._noise[batch.place[:own].cpu()].to(self.device))
        self._quality.update(real, real=True)
        self._quality.update(fake, real=False)
        return real, fake

    def on_validation_epoch_end(self) -> None:
        """Quality on the validation images."""
        self._log_quality("val")

    def on_test_epoch_end(self) -> None:
        """Quality on the test images, and a picture."""
        values, counts = self._log_quality("test")
        if self.inception is not None:
            self.log("test/fid", self._fid(self.inception), sync_dist=True)
        if self.trainer.is_global_zero:
            figure = quality_figure(torch.stack(self._real), torch.stack(self._fake), counts, values)
            rows: list[list[str | float]] = [[str(index), *its] for index, its in enumerate(counts.T.tolist())]
            log_table(self.trainer, "test/classes", ["class", "real images", "samples"], rows)
            log_figure(self.trainer, "test/samples", figure, Path(self.trainer.default_root_dir, "predictions.png"))
        self._real, self._fake = [], []

    def _log_quality(self, split: str) -> tuple[dict[str, float], Tensor]:
        assert self._quality is not None
        values, counts = self._quality.compute()
        self.log_dict({f"{split}/{name}": value for name, value in values.items()}, prog_bar=True, sync_dist=True)
        return values, counts

    def _fid(self, weights: str) -> float:
        """Of all images but those of the test, held out or not, as published."""
        data = cast(ImageData, cast(Any, self.trainer).datamodule)
        images = torch.cat([data.make(split).image for split in ("train", "val")])
        latents = self.latents.fixed(len(images), self.seed).z
        return fid(weights, images, lambda indices: self(latents[indices].to(self.device)), self.trainer)


def as_bytes(image: Tensor) -> Tensor:
    """Images in -1..1 as uint8.

    >>> as_bytes(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return ((image.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
