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


def is_transforming() -> bool:
    """Whether code runs inside vmap, grad, jvp or another transform of torch.func."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def is_readable(tensor: Tensor) -> bool:
    """Whether looking at the values of `tensor` costs no device sync and breaks no graph."""
    if tensor.device.type != "cpu" or torch.compiler.is_compiling() or tensor.numel() == 0:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def check_labels(target: Tensor, classes: int) -> None:
    """Integer labels must lie in 0..classes-1.

    Checked where looking is free. On an accelerator it would be a device sync; there torch's own device-side assertion
    speaks.

    Raises:
        TypeError: `target` is not of an integer dtype.
        ValueError: a label is out of range; the message names the range found.
    """
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(message("target", "class indices of an integer dtype", target.dtype))
    if is_readable(target):
        least, greatest = (int(limit) for limit in torch.aminmax(target))
        if least < 0 or greatest >= classes:
            raise ValueError(message("target", f"class indices in 0..{classes - 1}", f"{least}..{greatest}"))
