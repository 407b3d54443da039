"""What formulas share that keep nothing for the backward pass but their inputs, and compute the rest again.

They save memory, and they can be differentiated once only. A loss takes them with ``fused=True``, and falls back to the
plain formula where that is not enough: inside `eager_formulas`, under the transforms of torch.func, and under
torch.compile, whose own fusion needs no help.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from lightning_losses.checks import is_transforming

BLOCK = 1 << 17  # numbers that a CPU core works on at a time, so that they stay in its cache

_eager: ContextVar[bool] = ContextVar("eager", default=False)


@contextmanager
def eager_formulas() -> Iterator[None]:
    """Losses evaluated inside take their plain formulas, whatever their `fused` says, so that Hessians can be had.

    >>> import torch
    >>> from lightning_losses.losses import SigmoidFocal
    >>> logit = torch.zeros(1, requires_grad=True)
    >>> with eager_formulas():
    ...     loss = SigmoidFocal(fused=True)(logit, torch.ones(1))
    >>> (slope,) = torch.autograd.grad(loss, logit, create_graph=True)
    >>> torch.autograd.grad(slope, logit)
    (tensor([0.0998]),)
    """
    token = _eager.set(True)
    try:
        yield
    finally:
        _eager.reset(token)


def can_fuse() -> bool:
    """Whether nothing here asks for the plain formulas."""
    return not (torch.compiler.is_compiling() or is_transforming() or _eager.get())


class Once(torch.autograd.Function):
    """The gradient, with an error in the place of its own derivative.

    torch's `once_differentiable` is not enough: where the gradient from above is a constant it says nothing, and a
    Hessian would silently lack what the loss adds to it.
    """

    @staticmethod
    def forward(ctx: Any, slopes: Tensor, input: Tensor, *gradients: Tensor) -> Tensor:
        """The slopes, which depend on the others."""
        return slopes.view_as(slopes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """An error."""
        raise RuntimeError(
            "trying to differentiate twice a loss with `fused=True`, which has one derivative only. Evaluate it inside "
            "`lightning_losses.functional.eager_formulas()` or make it with `fused=False`."
        )


def blocks(dim: int, least: int, largest: Tensor, *others: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Pieces along `dim`: on the CPU, of about `BLOCK` numbers of the `largest`; elsewhere the whole."""
    length = largest.shape[dim]
    size = max(length, 1)
    if largest.device.type == "cpu":
        size = max(BLOCK * length // max(largest.numel(), 1), least)
    for start in range(0, length, size):
        stop = min(start + size, length)
        yield tuple(
            None if tensor is None else tensor.narrow(dim, start, stop - start) for tensor in (largest, *others)
        )
