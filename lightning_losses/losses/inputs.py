"""What losses ask of their inputs: class labels, probabilities, one number per class.

Values are looked at where looking is free: on the CPU, in eager mode, outside of torch.func. On an accelerator it would
stop the host until the device has caught up.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_losses.checks import check_labels, check_number, check_same_shape, is_readable, message


def numbers(parameter: str, values: float | Sequence[float] | Tensor | None, zero: bool = True) -> Tensor | None:
    """`values` as a float32 tensor.

    Raises:
        TypeError: a value is not a number.
        ValueError: a value is not finite, negative or, unless `zero` may be, zero.
    """
    if values is None:
        return None
    if isinstance(values, Tensor):
        listed = values.flatten().tolist()
    else:
        listed = [*values] if isinstance(values, Sequence) else [values]
    for value in listed:
        check_number(parameter, value, **({"at_least": 0.0} if zero else {"above": 0.0}))
    if isinstance(values, Tensor):
        return values.detach().to(torch.float32, copy=True)
    return torch.tensor(values, dtype=torch.float32, device="cpu")  # also where models are made on the meta device


def check_per_class(parameter: str, values: Tensor | None, input: Tensor) -> None:
    """`values` must hold one number for each class of `input` [N, C, *]."""
    if values is not None and values.shape != input.shape[1:2]:
        raise ValueError(message(parameter, f"{input.shape[1]} numbers, one per class", tuple(values.shape)))


def check_probabilities(target: Tensor) -> None:
    """The values of `target` must lie in [0, 1].

    Raises:
        ValueError: one does not; the message names the range found.
    """
    if target.dtype != torch.bool and is_readable(target):
        least, greatest = (limit.item() for limit in torch.aminmax(target))
        if least < 0 or greatest > 1:
            raise ValueError(message("target", "in [0, 1]", f"{least:g}..{greatest:g}"))


def check_binary(target: Tensor) -> None:
    """The values of `target` must be 0 or 1.

    Raises:
        ValueError: one is not; the message names the range found.
    """
    if target.dtype != torch.bool and is_readable(target) and not torch.equal(target * target, target):
        found = target[target * target != target].flatten()[0].item()
        raise ValueError(message("target", "0 or 1 everywhere", found))


def class_labels(input: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor | None]:
    """Labels ready to index classes with, and which of them count.

    Args:
        input: logits [N, C, *].
        target: class indices [N, *] of any integer dtype.
        ignore_index: the label of elements that do not count.

    Returns:
        int64 labels in 0..C-1, 0 where ignored; a boolean mask that is False where ignored, None if nothing can be.

    Raises:
        TypeError: `target` is not of an integer dtype.
        ValueError: the shapes do not fit, or a label is out of range.
    """
    _check_logits(input)
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(message("target", "class indices of an integer dtype", target.dtype))
    expected = input.shape[:1] + input.shape[2:]
    if target.shape != expected:
        rule = f"of the shape {tuple(expected)} of `input` without its class axis"
        raise ValueError(message("target", rule, tuple(target.shape)))
    labels, kept = target.long(), None
    if ignore_index is not None:
        kept = labels != ignore_index
        labels = labels.masked_fill(~kept, 0)
    check_labels(labels, input.shape[1])
    return labels, kept


def class_targets(input: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor | None]:
    """As `class_labels`; a floating `target` of the shape of `input` is one of class probabilities, and stays so."""
    _check_logits(input)
    if target.is_floating_point() and target.dim() == input.dim():
        check_same_shape("target", target, "input", input)
        check_probabilities(target)
        return target.to(input.dtype), None
    return class_labels(input, target, ignore_index)


def _check_logits(input: Tensor) -> None:
    if input.dim() < 2:
        raise ValueError(message("input", "of shape [N, C, *]", tuple(input.shape)))
