"""One format of error: the parameter, the rule, the value found and, for names, the nearest right one."""

import difflib
import math
from collections.abc import Iterable

import torch
from torch import Tensor


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint that ends an error message: the closest allowed name, or all of them when none is close.

    >>> nearest("wieght", ["weight", "loss"])
    "Did you mean 'weight'?"
    >>> nearest("zzz", ["weight", "loss"])
    "Choose from 'loss', 'weight'."
    """
    names = sorted(set(allowed))
    close = difflib.get_close_matches(name, names, n=1) or [n for n in names if n.lower() == name.lower()]
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Choose from {', '.join(map(repr, names))}." if names else "There is none to choose from."


def message(parameter: str, rule: str, found: object) -> str:
    """The sentence that every error of this library is made of.

    >>> message("gamma", "at least 0", -1)
    '`gamma` must be at least 0, found -1.'
    """
    return f"`{parameter}` must be {rule}, found {found!r}."


def check_number(
    parameter: str,
    value: float,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> float:
    """Return `value` if it is a finite number inside the limits.

    Raises:
        TypeError: `value` is not a number.
        ValueError: `value` is NaN, infinite or outside the limits.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(message(parameter, "a number", value))
    limits = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    rule = " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if math.isfinite(limit))
    inside = at_least <= value <= at_most and above < value < below
    if not (math.isfinite(value) and inside):
        raise ValueError(message(parameter, rule or "finite", value))
    return value


def check_choice(parameter: str, value: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`; the error names the nearest allowed one."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{message(parameter, 'one of ' + ', '.join(map(repr, allowed)), value)}")
    return value


def check_same_shape(parameter: str, tensor: Tensor, other: str, reference: Tensor) -> None:
    """`tensor` must have the shape of `reference`, the argument named `other`."""
    if tensor.shape != reference.shape:
        raise ValueError(message(parameter, f"of the shape {tuple(reference.shape)} of `{other}`", tuple(tensor.shape)))


def check_labels(target: Tensor, classes: int, ignore_index: int | None = None) -> None:
    """Integer labels must lie in 0..classes-1.

    Checked where looking is free: on the CPU in eager mode. On an accelerator the look would be a device sync;
    there torch's own device-side assertion speaks.

    Raises:
        TypeError: `target` is not of an integer dtype.
        ValueError: a label is out of range; the message names the range found.
    """
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(message("target", "class indices of an integer dtype", target.dtype))
    if target.device.type != "cpu" or torch.compiler.is_compiling() or not _is_plain(target):
        return
    labels = target if ignore_index is None else target[target != ignore_index]
    if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        rule = f"class indices in 0..{classes - 1}" + (f" or ignore_index={ignore_index}" * (ignore_index is not None))
        raise ValueError(message("target", rule, f"{int(labels.min())}..{int(labels.max())}"))


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor's values may be read: not inside vmap, grad or another torch.func transform."""
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
