"""The Fréchet Inception distance as it is published: of all training images, in the features of Inception-v3."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from lightning_losses.checks import message

DOWNLOAD = "download"
ROWS = 100  # images that go through the network at a time


def check_inception(weights: str | None) -> None:
    """Say before a training, and not behind it, that its end could not be judged.

    Args:
        weights: a file of Inception-v3's weights as torch-fidelity publishes them, ``"download"``, or None for no FID.

    Raises:
        ModuleNotFoundError: torch-fidelity is missing, whose Inception-v3 gives the numbers of TensorFlow's.
        FileNotFoundError: there is no such file.
    """
    if weights is None:
        return
    if find_spec("torch_fidelity") is None:
        raise ModuleNotFoundError('`model.inception` needs torch-fidelity: pip install "lightning-losses[fid]"')
    if weights != DOWNLOAD and not Path(weights).is_file():
        raise FileNotFoundError(message("model.inception", "a file that exists, 'download' or null", weights))


@torch.no_grad()
def fid(weights: str, images: Tensor, sample: Callable[[Tensor], Tensor], trainer: Trainer) -> float:
    """The FID of as many samples as there are images; ranks share the work.

    Heusel et al. 2017, `arXiv:1706.08500 <https://arxiv.org/abs/1706.08500>`_. Images are enlarged as TensorFlow 1 did
    it, as the published numbers have it. Grey ones get three equal channels.

    Args:
        weights: see `check_inception`.
        images: real ones, [N, C, S, S] of uint8.
        sample: from indices [n] in 0..N-1 to samples [n, C, S, S] of uint8.
        trainer: whose ranks take part, all of them.
    """
    device = trainer.strategy.root_device
    path = None if weights == DOWNLOAD else weights
    rank_zero_info(f"FID: {len(images)} images and as many samples go through Inception-v3.")
    metric = FrechetInceptionDistance(feature_extractor_weights_path=path, antialias=False).to(device)
    with torch.autocast(device.type, enabled=False):
        for indices in torch.split(torch.arange(trainer.global_rank, len(images), trainer.world_size), ROWS):
            metric.update(_coloured(images[indices].to(device)), real=True)
            metric.update(_coloured(sample(indices)), real=False)
        return float(metric.compute())


def _coloured(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
