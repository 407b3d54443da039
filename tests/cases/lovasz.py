"""Lovász extensions of the Jaccard loss."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from cases.case import Array, Case, Pair
from cases.labels import CLASSES, IGNORED, elements
from cases.segmentation import overlap_case
from lightning_losses.losses import LovaszHinge, LovaszSoftmax


def jaccard_loss(wrong: Sequence[bool], pixels: Sequence[tuple[float, bool, float]]) -> float:
    """1 - IoU where just these pixels are wrong."""
    union = sum(weight for miss, (_, true, weight) in zip(wrong, pixels, strict=True) if true or miss)
    return sum(weight for miss, (*_, weight) in zip(wrong, pixels, strict=True) if miss) / union if union else 0.0


def extension(pixels: Sequence[tuple[float, bool, float]]) -> float:
    """The integral over all levels t of the Jaccard loss of being wrong where the error is at least t."""
    levels = sorted({0.0, *(error for error, _, _ in pixels)})
    return sum(
        (high - low) * jaccard_loss([error >= high for error, _, _ in pixels], pixels) for low, high in pairwise(levels)
    )


def groups(w: Array, per_image: bool) -> list[slice]:
    return [slice(n, n + 1) for n in range(len(w))] if per_image else [slice(None)]


def lovasz_softmax(x, y, w, per_image=False) -> float:
    values = []
    for group in groups(w, per_image):
        drawn = list(elements(x[group], y[group], w[group]))
        for c in range(CLASSES):
            pixels = [(abs((k == c) - p[c]), k == c, weight) for p, k, weight in drawn]
            if any(true and weight for _, true, weight in pixels):
                values.append(extension(pixels))
    return float(np.mean(values))


def lovasz_hinge(x, y, w, per_image=False) -> float:
    values = []
    for group in groups(w, per_image):
        drawn = zip(x[group].flat, y[group].flat, w[group].flat, strict=True)
        values.append(extension([(max(0, 1 - xi if t else 1 + xi), t, wi) for xi, t, wi in drawn if t != IGNORED]))
    return float(np.mean(values))


def one_region(generator: torch.Generator, size: int, ignore: float = 0.0) -> Pair:
    """Logits and labels 0 or 1, a share of them ignored."""
    input = torch.randn(size, 3, 4, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 2, input.shape, generator=generator)
    return input, target.masked_fill(torch.rand(input.shape, generator=generator) < ignore, IGNORED)


def softmax_case(id: str, per_image: bool = False, **flags) -> Case:
    return overlap_case(
        f"LovaszSoftmax-{id}",
        partial(LovaszSoftmax, per_image=per_image),
        partial(lovasz_softmax, per_image=per_image),
        lambda y, w: 1 - 1 / CLASSES,
        **flags,
    )


def hinge_case(id: str, ignore: float = 0.0, per_image: bool = False, **flags) -> Case:
    return Case(
        f"LovaszHinge-{id}",
        partial(LovaszHinge, per_image=per_image, ignore_index=IGNORED if ignore else None),
        partial(one_region, ignore=ignore),
        partial(lovasz_hinge, per_image=per_image),
        lambda y, w: 1.0,
        elementwise=False,
        **flags,
    )


CASES = [
    softmax_case("plain", per_rank=True),
    softmax_case("per-image", per_image=True, ignore=0.3, dims=(-1,)),
    hinge_case("ignored", ignore=0.3, dims=(0, -1), per_rank=True),
    hinge_case("per-image", per_image=True, dims=(-1,)),
]
