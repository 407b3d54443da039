"""Labelled images: the handwritten digits of scikit-learn, and files in the format of MNIST."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from lightning_losses.checks import message
from lightning_losses.recipes.idx import labelled_images


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
    images, labels = labelled_images(root, split)
    whole = Labelled(images.float() / 255, labels)
    if split == "test":
        return whole
    if len(labels) <= held_out:
        raise ValueError(message("data.val_samples", f"less than the {len(labels)} training images", held_out))
    return whole.part(slice(-held_out, None) if split == "val" else slice(0, -held_out))
