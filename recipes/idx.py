"""Labelled images in the files of MNIST, Fashion-MNIST, KMNIST and others of that format and those names."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import MNIST

from lightning_losses.checks import message
from lightning_losses.recipes.files import require_folder

PREFIXES = {"train": "train", "val": "train", "test": "t10k"}
UNSIGNED_BYTES = 8


def download(root: Path) -> None:
    """Fetch MNIST by torchvision, if it is not there."""
    MNIST(root, download=True)


def labelled_images(root: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images [N, H, W] of uint8 and their labels [N]; validation has those of training, to be divided.

    Args:
        root: the folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
            ``t10k-labels-idx1-ubyte``, each as it is or with ``.gz``; or the one that `download` was given.
        split: ``"train"``, ``"val"`` or ``"test"``.

    Raises:
        FileNotFoundError: there is no folder, or a file is missing.
        ValueError: a file is malformed, or there are not as many labels as images; the message names it.
    """
    raw = root / "MNIST" / "raw"  # where torchvision puts them
    folder = raw if raw.is_dir() else require_folder("data.root", root)
    images = _read(_find(folder, f"{PREFIXES[split]}-images-idx3-ubyte"), dimensions=3)
    labels = _read(_find(folder, f"{PREFIXES[split]}-labels-idx1-ubyte"), dimensions=1).long()
    if len(images) != len(labels):
        raise ValueError(message(str(folder), f"as many labels as {split} images ({len(images)})", len(labels)))
    return images, labels


def _find(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    rule = f"a folder with {name} or {name}.gz, as MNIST is published (data.download=true fetches it)"
    raise FileNotFoundError(message("data.root", rule, str(folder)))


def _read(file: Path, dimensions: int) -> Tensor:
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(message(str(file), "a file that can be read", str(error))) from error
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, UNSIGNED_BYTES, dimensions)):
        rule = f"an IDX file of unsigned bytes with {dimensions} dimensions"
        raise ValueError(message(str(file), rule, content[:4].hex(" ")))
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        rule = f"of {math.prod(shape)} bytes after its head, for the shape {shape}"
        raise ValueError(message(str(file), rule, len(content) - start))
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
