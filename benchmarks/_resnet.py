"""The network at which curvature is measured: a ResNet-18 for images of 32x32, trained for 150 steps."""

import gzip
import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torchvision.models import resnet18

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"
BATCH, STEPS, CLASSES, NOISE = 64, 150, 10, 0.1

Batch = tuple[Tensor, Tensor]


class Data(NamedTuple):
    """Batches of images [B, 3, 32, 32] and labels [B], in words and in numbers."""

    name: str
    batches: list[Batch]


def data(batches: int) -> Data:
    """MNIST at 32x32 if it is at ../shared/data, else synthetic clusters; a tenth of the labels is random."""
    generator = torch.Generator().manual_seed(0)
    count = batches * BATCH
    name, (images, labels) = ("MNIST", _mnist(count)) if MNIST.exists() else ("clusters", _clusters(count, generator))
    random = torch.randint(CLASSES, (count,), generator=generator)
    labels = torch.where(torch.rand(count, generator=generator) < NOISE, random, labels)
    order = torch.randperm(count, generator=generator)  # in MNIST's own, neighbours resemble each other
    pairs = zip(images[order].split(BATCH), labels[order].split(BATCH), strict=True)
    return Data(f"{name} at 32x32 with a tenth of the labels random", list(pairs))


def trained(batches: list[Batch]) -> nn.Module:
    """The network after a step on each batch, in eval mode; trained in bfloat16, measured in float32."""
    torch.manual_seed(0)
    network = resnet18(num_classes=CLASSES)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    for images, labels in batches:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
    return network.eval()


def _mnist(count: int) -> Batch:
    images = _idx(MNIST / "train-images-idx3-ubyte.gz", header=16, size=count * 28**2).view(count, 1, 28, 28)
    images = pad((images.float() / 255 - 0.1307) / 0.3081, [2] * 4, value=-0.1307 / 0.3081)
    return images.expand(-1, 3, -1, -1).contiguous(), _idx(MNIST / "train-labels-idx1-ubyte.gz", 8, count).long()


def _idx(path: Path, header: int, size: int) -> Tensor:
    with gzip.open(path) as file:
        return torch.frombuffer(bytearray(file.read(header + size)[header:]), dtype=torch.uint8)


def _clusters(count: int, generator: torch.Generator) -> Batch:
    """Gaussian clusters around random images, ten units of their noise apart."""
    means = torch.randn(CLASSES, 3, 32, 32, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    distance = 10 / math.sqrt(2 * means[0].numel())
    return distance * means[labels] + torch.randn(count, 3, 32, 32, generator=generator), labels
