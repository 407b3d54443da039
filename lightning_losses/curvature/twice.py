"""How a loss can be differentiated twice, and what to say when it cannot."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from lightning_losses.curvature.checkpointing import keeping_activations
from lightning_losses.curvature.estimate import Objective, Parameters
from lightning_losses.functional.fused import eager_formulas

ONCE_ONLY = re.compile("double backward|derivative for .* is not implemented|differentiate twice|use_reentrant", re.I)
"""What torch says of an operation that has a first derivative only."""
RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """What is computed inside can be differentiated twice, as far as torch has the derivatives.

    Attention takes the math kernel (the flash kernels have no second derivative), compiled functions run eager, losses
    take their plain formulas even if they are ``fused``, and recurrent layers run without cuDNN; convolutions keep it.
    Only the evaluation of the loss needs to be inside.

    >>> query = torch.ones(1, 2, 4, requires_grad=True)
    >>> with differentiable_twice():
    ...     attended = torch.nn.functional.scaled_dot_product_attention(query, query, query)
    >>> (gradient,) = torch.autograd.grad(attended.square().sum(), query, create_graph=True)
    >>> torch.autograd.grad(gradient.sum(), query)[0].shape
    torch.Size([1, 2, 4])
    """
    with (
        sdpa_kernel(SDPBackend.MATH),
        torch.compiler.set_stance("force_eager"),
        _NativeRecurrence(),
        keeping_activations(),
        eager_formulas(),
    ):
        yield


def twice(objective: Objective) -> Objective:
    """The objective, evaluated inside `differentiable_twice`."""

    def evaluated(parameters: Parameters) -> Tensor:
        with differentiable_twice():
            return objective(parameters)

    return evaluated


@contextmanager
def explained() -> Iterator[None]:
    """An error about a second derivative that torch does not have says what to do instead."""
    try:
        yield
    except RuntimeError as error:
        if not ONCE_ONLY.search(str(error)):
            raise
        raise RuntimeError(
            "The loss must be made of operations that can be differentiated twice, and one cannot. Evaluate it inside "
            "`differentiable_twice()`, which takes attention by torch.nn.attention.sdpa_kernel(SDPBackend.MATH), runs "
            "compiled code eagerly and recurrent layers without cuDNN; take checkpoints with use_reentrant=False. "
            f"CTC has no second derivative in torch. From torch: {error}"
        ) from error


class _NativeRecurrence(TorchFunctionMode):
    """Switches cuDNN off for recurrent layers alone: for convolutions that would cost time and memory."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(function, "__name__", "") not in RECURRENT:
            return function(*args, **(kwargs or {}))
        enabled = torch.backends.cudnn.enabled
        torch.backends.cudnn.enabled = False
        try:
            return function(*args, **(kwargs or {}))
        finally:
            torch.backends.cudnn.enabled = enabled
