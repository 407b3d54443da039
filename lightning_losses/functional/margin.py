"""Margins: what is right by enough costs nothing."""

from torch import Tensor

from lightning_losses.functional.gathering import at_label


def hinge(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`\max(0, 1 - s x)` with :math:`s = 2t - 1`, the label as -1 or 1.

    Args:
        input: scores :math:`x`, any shape.
        target: labels :math:`t`, 0 or 1, the same shape.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> hinge(torch.tensor([0.0, 2.0, 2.0]), torch.tensor([1, 1, 0]))
    tensor([1., 0., 3.])
    """
    sign = 2 * target.to(input.dtype) - 1
    return (1 - sign * input).relu()


def multi_margin(input: Tensor, target: Tensor, margin: float = 1.0, power: int = 1) -> Tensor:
    r""":math:`\frac1C \sum_{c \ne y} \max(0, m - x_y + x_c)^k`.

    Args:
        input: scores :math:`x` [N, C, *].
        target: labels :math:`y` in 0..C-1 [N, *] (int64).
        margin: :math:`m > 0`.
        power: :math:`k`, 1 or 2.

    Returns:
        Values in :math:`[0, \infty)` [N, *].

    >>> import torch
    >>> multi_margin(torch.zeros(1, 4), torch.tensor([2]))  # 1 - 1/4
    tensor([0.7500])
    """
    short = (margin + (input - at_label(input, target).unsqueeze(1))).relu().pow(power)
    return short.scatter(1, target.unsqueeze(1), 0.0).mean(1)
