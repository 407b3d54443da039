"""Stable primitives shared by the formulas."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """`tensor` in float32 if it is in half precision, unchanged otherwise.

    Statistics of losses are taken in float32 under autocast: a float16 sum overflows at 65504, and a squared residual
    already at 256.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def widest(tensor: Tensor) -> Tensor:
    """`tensor` in the widest floating type of its device, for sums that grow over batches."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()  # MPS has no float64


def safe_divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Numerator / denominator, and 0 (with a zero gradient) where the denominator is 0."""
    empty = denominator == 0
    return numerator.masked_fill(empty, 0.0) / denominator.masked_fill(empty, 1.0)
