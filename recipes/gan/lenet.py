"""The features that samples are judged in: those of a small classifier of the data's own classes."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_losses.recipes.sampling import seeded
from lightning_losses.replacing import replacing

from .data import LabelledImages

FILE = "lenet.pt"
BATCH = 128


class LeNet(nn.Module):
    """LeCun et al., "Gradient-based learning applied to document recognition", 1998, with ReLU and 64 features.

    Args:
        image_channels: 1 or 3.
        size: side length of the image.
        classes: how many.
    """

    num_features = 64

    def __init__(self, image_channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *[nn.Conv2d(image_channels, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Flatten(), nn.Linear(32 * (size // 4) ** 2, self.num_features), nn.ReLU()],
        )
        self.head = nn.Linear(self.num_features, classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features [N, 64] and logits [N, classes], of images of uint8."""
        features = self.body(image.float() / 255)
        return features, self.head(features)


def train_lenet(images: LabelledImages, steps: int, seed: int) -> LeNet:
    """A LeNet trained on labelled images, a function of its arguments (up to the order in which threads add).

    Args:
        images: what it learns to tell apart.
        steps: batches of 128.
        seed: of its weights and of the order of images.
    """
    with seeded(seed), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        lenet = LeNet(images.image.shape[1], images.image.shape[2], classes=int(images.label.max()) + 1)
        optimizer = torch.optim.Adam(lenet.parameters(), lr=1e-3)
        for _ in range(steps):
            chosen = torch.randint(len(images), (BATCH,))
            loss = F.cross_entropy(lenet(images.image[chosen])[1], images.label[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return lenet.eval().requires_grad_(False)


def shared_lenet(trainer: Trainer, images: LabelledImages, steps: int, seed: int) -> LeNet:
    """The LeNet of a run, the same on all ranks: rank 0 trains it once and keeps it in the run's directory."""
    state: dict[str, Any] = {}
    if trainer.is_global_zero:
        file = Path(trainer.default_root_dir) / FILE
        if not file.is_file():
            _save(train_lenet(images, steps, seed).state_dict(), file)
        state = torch.load(file, weights_only=True)
    state = trainer.strategy.broadcast(state)
    lenet = LeNet(images.image.shape[1], images.image.shape[2], classes=len(state["head.bias"]))
    lenet.load_state_dict(state)
    return lenet.eval().requires_grad_(False).to(trainer.strategy.root_device)


def _save(state: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        torch.save(state, part)
