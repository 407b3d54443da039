"""What losses ask of their inputs: class labels, probabilities, one number per class.

Values are looked at where looking is free: on the CPU, in eager mode, outside of torch.func. On an accelerator it would
stop the host until the device has caught up.
"""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_losses.checks import check_labels, check_number, check_same_shape, is_readable, message

ROUNDING = 1e-2  # by how much a sum of bfloat16 probabilities may miss 1
PART = 1 << 16  # numbers that are looked at together: their squares stay in the cache


def numbers(
    parameter: str, values: float | Sequence[float] | Tensor | None, zero: bool = True, at_most: float = math.inf
) -> Tensor | None:
    """`values` as a float32 tensor.

    Raises:
        TypeError: a value is not a number.
        ValueError: a value is not finite, negative, above `at_most` or, unless `zero` may be, zero.
    """
    if values is None:
        return None
    if isinstance(values, Tensor):
        listed = values.flatten().tolist()
    else:
        listed = [*values] if isinstance(values, Sequence) else [values]
    for value in listed:
        check_number(parameter, value, at_most=at_most, **({"at_least": 0.0} if zero else {"above": 0.0}))
    if isinstance(values, Tensor):
        return values.detach().to(torch.float32, copy=True)
    return torch.tensor(values, dtype=torch.float32, device="cpu")  # also where models are made on the meta device


def check_per_class(parameter: str, values: Tensor | None, input: Tensor) -> None:
    """`values` must hold one number for each class of `input` [N, C, *]."""
    if values is None:
        return
    _check_logits(input)
    if values.shape != input.shape[1:2]:
        raise ValueError(message(parameter, f"{input.shape[1]} numbers, one per class", tuple(values.shape)))


def check_finite(parameter: str, tensor: Tensor) -> None:
    """The values of `tensor` must be numbers: one NaN among the targets would make every gradient NaN.

    Raises:
        ValueError: one is infinite or NaN.
    """
    if tensor.is_floating_point() and is_readable(tensor):
        least, greatest = (limit.item() for limit in torch.aminmax(tensor))
        if not (math.isfinite(least) and math.isfinite(greatest)):
            raise ValueError(message(parameter, "finite everywhere it is not masked", f"{least:g}..{greatest:g}"))


def check_probabilities(target: Tensor, parameter: str = "target") -> None:
    """The values of `target`, the argument named `parameter`, must lie in [0, 1].

    Raises:
        ValueError: one does not; the message names the range found.
    """
    if target.dtype != torch.bool and is_readable(target):
        least, greatest = (limit.item() for limit in torch.aminmax(target))
        if not (least >= 0 and greatest <= 1):  # as with NaN
            raise ValueError(message(parameter, "in [0, 1]", f"{least:g}..{greatest:g}"))


def check_binary(target: Tensor) -> None:
    """The values of `target` must be 0 or 1.

    Raises:
        ValueError: one is not; the message names the range found.
    """
    if target.dtype == torch.bool or not is_readable(target):
        return
    for part in torch.split(target.flatten(), PART):
        if not torch.equal(part * part, part):
            raise ValueError(message("target", "0 or 1 everywhere", part[part * part != part][0].item()))


def class_labels(
    input: Tensor, target: Tensor, ignore_index: int | None, classes: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Labels ready to index classes with, and which of them count.

    Args:
        input: logits [N, C, *].
        target: class indices [N, *] of any integer dtype.
        ignore_index: the label of elements that do not count.
        classes: the number of classes, if it is not C.

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
    check_labels(labels, input.shape[1] if classes is None else classes)
    return labels, kept


def class_targets(input: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor | None]:
    """As `class_labels`; a floating `target` of the shape of `input` is one of class probabilities, and stays so."""
    _check_logits(input)
    if target.is_floating_point() and target.dim() == input.dim():
        return distributions(input, target), None
    return class_labels(input, target, ignore_index)


def distributions(input: Tensor, target: Tensor) -> Tensor:
    """`target` as distributions over the classes, in the dtype of the logits `input` [N, C, *].

    Rows of zeros pass: the targets of masked elements are that.

    Raises:
        ValueError: the shapes do not fit, a probability is outside [0, 1], or those of an element do not sum to 1.
    """
    _check_logits(input)
    check_same_shape("target", target, "input", input)
    check_probabilities(target)
    if is_readable(target):
        sums = target.detach().sum(1)
        wrong = sums[((sums - 1).abs() > ROUNDING) & (sums != 0)]
        if wrong.numel():
            raise ValueError(message("target", "distributions that sum to 1 along axis 1", f"a sum of {wrong[0]:g}"))
    return target.to(input.dtype)


def check_two_logits(input: Tensor, target: Tensor) -> None:
    """`target` must be logits [N, C, *] as `input` is.

    Raises:
        ValueError: the shapes do not fit, or a logit of the target is not finite.
    """
    _check_logits(input)
    check_same_shape("target", target, "input", input)
    check_finite("target", target)


class LogitsCheck:
    """Warns once if the logits of a loss look like probabilities: of them softmax would be taken twice.

    It looks at the first few batches only.
    """

    def __init__(self) -> None:
        self.looks = 5

    def __call__(self, input: Tensor) -> None:
        """Look at `input` [N, C, *], where looking is free."""
        if not is_readable(input) or self.looks == 0 or input.shape[1] == 1:
            return
        self.looks -= 1
        values = input.detach()
        if values.min() >= 0 and ((values.sum(1) - 1).abs() < 1e-3).all():
            self.looks = 0
            warnings.warn(
                "`input` must be logits, but looks like probabilities: its values are in [0, 1] and sum to 1 along "
                "axis 1. This loss takes the softmax itself; leave it out of the model."
            )


def _check_logits(input: Tensor) -> None:
    if input.dim() < 2:
        raise ValueError(message("input", "of shape [N, C, *]", tuple(input.shape)))
