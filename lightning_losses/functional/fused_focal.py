"""The focal loss of a sigmoid, with nothing kept for the backward pass but its inputs."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses.functional.focal import sigmoid_focal
from lightning_losses.functional.fused import Once, blocks


def fused_sigmoid_focal(
    input: Tensor, target: Tensor, alpha: float | Tensor | None = 0.25, gamma: float = 2.0
) -> Tensor:
    """`sigmoid_focal`, saving nothing but its inputs.

    >>> import torch
    >>> fused_sigmoid_focal(torch.zeros(2), torch.tensor([0, 1]))  # (3/4, 1/4) * log(2) / 4
    tensor([0.1300, 0.0433])
    """
    values: Tensor = _SigmoidFocal.apply(input, target, alpha, gamma)
    return values


class _SigmoidFocal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, target: Tensor, alpha: float | Tensor | None, gamma: float) -> Tensor:
        ctx.save_for_backward(input, target)
        ctx.alpha, ctx.gamma = alpha, gamma
        values = torch.empty_like(input, memory_format=torch.contiguous_format)
        for x, t, of_block in _elements(alpha, input, target, values):
            of_block.copy_(sigmoid_focal(x, t, alpha, gamma))
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        input, target = ctx.saved_tensors
        slopes = _focal_slopes(input, target, ctx.alpha, ctx.gamma, gradient)
        return Once.apply(slopes, input, gradient), None, None, None


@torch.no_grad()
def _focal_slopes(
    input: Tensor, target: Tensor, alpha: float | Tensor | None, gamma: float, gradient: Tensor
) -> Tensor:
    slopes = torch.empty_like(input, memory_format=torch.contiguous_format)
    for x, t, g, of_block in _elements(alpha, input, target, gradient, slopes):
        of_block.copy_(g * _focal_slope(x, t, alpha, gamma))
    return slopes


def _focal_slope(input: Tensor, target: Tensor, alpha: float | Tensor | None, gamma: float) -> Tensor:
    r""":math:`\pm \alpha_t q^\gamma (\gamma p \log p - q)` with :math:`p = p_t` and :math:`q = 1 - p`."""
    sign = 2 * target.to(input.dtype) - 1
    margin = sign * input
    log_p = F.logsigmoid(margin)
    log_q = log_p - margin
    slope = (gamma * log_q).exp_() * (gamma * log_p.exp() * log_p - log_q.exp()) * sign
    return slope if alpha is None else ((alpha - 0.5) * sign + 0.5) * slope


def _elements(alpha: float | Tensor | None, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Blocks of elements, or of samples where each class has its `alpha`."""
    per_class = isinstance(alpha, Tensor) and alpha.dim() > 0
    return blocks(0, 1, *(tensors if per_class else (tensor.reshape(-1) for tensor in tensors)))
