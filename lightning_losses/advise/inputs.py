"""Targets as users have them, tensors, arrays or lists, as the arrays that evidence is taken of."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from lightning_losses.advise.statistics import Array
from lightning_losses.checks import message


def array(parameter: str, values: Any) -> Array:
    """`values` as an array of numbers.

    Raises:
        TypeError: they are no numbers.
        ValueError: there is none, or one is NaN or infinite.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise ValueError(message(parameter, "an array, its rows of one length", type(values).__name__)) from error
    if found.dtype.kind not in "biuf":
        raise TypeError(message(parameter, "an array of numbers", found.dtype.name))
    if not found.ndim:
        raise ValueError(message(parameter, "an array or a list", found.item()))
    if not found.size:
        raise ValueError(message(parameter, "at least one number", found.shape))
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(message(parameter, "finite", f"{(~np.isfinite(found)).sum()} NaN or infinite"))
    return found


def labels(parameter: str, values: Any, ignore_index: int | None = None) -> Array:
    """Class indices of any shape, ignored ones as -1.

    Raises:
        ValueError: a value is no whole number of at least 0 and not `ignore_index`, or all are ignored.
    """
    found = array(parameter, values)
    whole = found.astype(np.int64)
    if (whole != found).any():
        raise ValueError(message(parameter, "class indices", float(found[whole != found].flat[0])))
    ignored = whole == ignore_index if ignore_index is not None else np.zeros(whole.shape, dtype=bool)
    if whole[~ignored].size and whole[~ignored].min() < 0:
        rule = "class indices of at least 0, or those of ignore_index"
        raise ValueError(message(parameter, rule, int(whole[~ignored].min())))
    if ignored.all():
        raise ValueError(message(parameter, "labels that are not all ignored", f"{ignore_index} everywhere"))
    return np.where(ignored, -1, whole)


def label_map(values: Any, ignore_index: int | None) -> Array:
    """Class indices [H, W] of an image, ignored ones as -1; all of them may be."""
    found = array("targets", values)
    if found.ndim != 2:
        raise ValueError(message("targets", "label maps [H, W]", found.shape))
    if ignore_index is not None and (found == ignore_index).all():
        return np.full(found.shape, -1)
    return labels("targets", found, ignore_index)


def each(parameter: str, values: Any) -> Iterable[Any]:
    """The images or queries of a data set, one by one."""
    if not isinstance(values, Iterable) or isinstance(values, (str, Mapping)):
        raise TypeError(message(parameter, "a sequence", type(values).__name__))
    return values


def sequence(parameter: str, values: Any) -> list[Any]:
    """All images or queries of a data set; there must be one at least."""
    found = list(each(parameter, values))
    if not found:
        raise ValueError(message(parameter, "a sequence of at least one", found))
    return found


def boxes(image: Any) -> tuple[Array, Array | None]:
    """The boxes of an image [n, 4] and their labels [n], of an array or of torchvision's mapping.

    Raises:
        ValueError: the shapes do not fit, a number is not finite, or a box is inverted.
    """
    parts = image if isinstance(image, Mapping) else {"boxes": image}
    if "boxes" not in parts:
        raise ValueError(message("targets", 'boxes, or mappings with "boxes"', sorted(parts)))
    given = parts["boxes"]
    found = array("targets", given).astype(float) if len(given) else np.zeros((0, 4))
    if found.ndim != 2 or found.shape[1] != 4:
        raise ValueError(message("targets", "boxes [n, 4] for each image", found.shape))
    inverted = (found[:, 2:] < found[:, :2]).any(1)
    if inverted.any():
        rule = "boxes (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2"
        raise ValueError(message("targets", rule, found[inverted][0].tolist()))
    if parts.get("labels") is None:
        return found, None
    classes = labels("labels", parts["labels"]) if len(found) else np.zeros(0, dtype=np.int64)
    if classes.shape != (len(found),):
        raise ValueError(message("labels", f"one for each of {len(found)} boxes", classes.shape))
    return found, classes


def same_length(predictions: Array, targets: Array) -> None:
    """There must be a prediction for each target."""
    if len(predictions) != len(targets):
        raise ValueError(message("predictions", f"as many as targets ({len(targets)})", len(predictions)))


def levels(intervals: Sequence[float]) -> list[float]:
    """Quantiles, in order.

    Raises:
        ValueError: one is not between 0 and 1, or they do not increase.
    """
    found = [float(level) for level in intervals]
    increasing = all(low < high for low, high in pairwise(found))
    if not found or not increasing or not 0 < found[0] <= found[-1] < 1:
        raise ValueError(message("intervals", "increasing quantiles between 0 and 1", found))
    return found
