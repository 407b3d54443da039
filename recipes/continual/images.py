"""Labelled images: the handwritten digits of scikit-learn, and files in the format of MNIST."""

import gzip
import zlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from lightning_losses.checks import message


class Labelled(NamedTuple):
    """Images [N, H, W] in 0..1 and their classes [N]."""

    images: Tensor
    labels: Tensor

    def part(self, chosen: Tensor | slice) -> "Labelled":
        """Some of them."""
        return Labelled(self.images[chosen], self.labels[chosen])


@cache
def digits(split: str) -> Labelled:
    """Handwritten digits of 8x8 pixels, which come with scikit-learn: 1258 for training, 180, and 359 for the test."""
    bunch = load_digits()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(bunch.target)))
    ends = {"train": slice(0, 1258), "val": slice(1258, 1438), "test": slice(1438, None)}
    whole = Labelled(torch.from_numpy(bunch.images).float() / 16, torch.from_numpy(bunch.target).long())
    return whole.part(order[ends[split]])


def idx_images(root: Path, split: str, held_out: int) -> Labelled:
    """The files of MNIST, of Fashion-MNIST, or of others of that format and those names, as they are or as .gz.

    Args:
        root: their folder.
        split: ``"test"``; ``"val"``, the last of the training images; or ``"train"``, the others.
        held_out: how many are for validation.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is malformed, or too few images are left; the message names it.
    """
    prefix = "t10k" if split == "test" else "train"
    images = _read_idx(root, f"{prefix}-images-idx3-ubyte", 3)
    labels = _read_idx(root, f"{prefix}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise ValueError(message(str(root), f"{len(images)} labels for as many {prefix} images", len(labels)))
    whole = Labelled(images.float() / 255, labels.long())
    if split == "test":
        return whole
    if len(labels) <= held_out:
        raise ValueError(message("data.val_samples", f"less than the {len(labels)} training images", held_out))
    return whole.part(slice(-held_out, None) if split == "val" else slice(0, -held_out))


def _read_idx(root: Path, name: str, dimensions: int) -> Tensor:
    """Unsigned bytes behind a magic number and the sizes, each of four bytes, the most significant first."""
    path = next((file for file in (root / name, root / f"{name}.gz") if file.is_file()), None)
    if path is None:
        raise FileNotFoundError(message("data.root", f"a folder with {name} or {name}.gz", str(root)))
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(message(str(path), "a file that can be unpacked", str(error))) from error
    header = np.frombuffer(content[: 4 + 4 * dimensions], dtype=">i4")
    if len(header) != 1 + dimensions or header[0] != 0x800 + dimensions:
        raise ValueError(message(str(path), f"an IDX file of unsigned bytes in {dimensions} dimensions", content[:4]))
    values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions)
    if values.size != header[1:].prod():
        raise ValueError(message(str(path), f"{header[1:].prod()} values, as its header says", values.size))
    return torch.from_numpy(values.reshape(header[1:]).copy())
