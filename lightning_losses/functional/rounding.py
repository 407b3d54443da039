"""Quantisation: how far weights are from the grid, and how undecided a rounding is."""

import math

import torch
from torch import Tensor


def rounding_error(input: Tensor, scale: float = 1.0) -> Tensor:
    r""":math:`f = w/s - \operatorname{round}(w/s)`, how far from the grid in steps; its derivative is :math:`1/s`.

    Halfway between two points of the grid torch rounds to the even one; the derivative is that of one side.

    Args:
        input: weights :math:`w`, any shape.
        scale: :math:`s`, a step of the grid, above 0.

    Returns:
        Values in [-1/2, 1/2], of the shape of `input`.

    >>> import torch
    >>> rounding_error(torch.tensor([0.25, 1.0, 1.75]), 0.5)
    tensor([ 0.5000,  0.0000, -0.5000])
    """
    steps = input / scale
    return steps - steps.detach().round()


def sine_rounding(error: Tensor) -> Tensor:
    r""":math:`\sin^2(\pi f)`: smooth everywhere, also halfway between two points of the grid.

    Args:
        error: :math:`f`, any shape.

    Returns:
        Values in [0, 1], of the shape of `error`.

    >>> import torch
    >>> sine_rounding(torch.tensor([0.0, 0.25, 0.5]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return torch.sin(math.pi * error).square()


def rounding_decision(input: Tensor, beta: float = 20.0) -> Tensor:
    r""":math:`1 - |2h - 1|^\beta`: 0 where :math:`h` says down (0) or up (1), 1 where it is undecided.

    Args:
        input: :math:`h` in [0, 1], any shape.
        beta: :math:`\beta \ge 2`; the larger, the flatter around 1/2.

    Returns:
        Values in [0, 1], of the shape of `input`.

    >>> import torch
    >>> rounding_decision(torch.tensor([0.0, 0.25, 0.5]), beta=2.0)
    tensor([0.0000, 0.7500, 1.0000])
    """
    decided = 2 * input - 1
    size = decided.abs().clamp(min=torch.finfo(input.dtype).eps)  # of 0 the powers in the derivatives are infinite
    return 1 - decided.square() * size ** (beta - 2)
