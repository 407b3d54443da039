"""Any function from a vector of losses to one number, TorchJD's scalarizers among them."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_losses.balancers.base import Balanced, Balancer, Present
from lightning_losses.balancers.probe import Probe
from lightning_losses.checks import message


class Scalarizer(Balancer):
    r"""A scalarization :math:`L = s(p_1 L_1, \ldots, p_T L_T)`, reported with weights :math:`\partial L/\partial L_i`.

    TorchJD's scalarizers (geometric mean, IMTL-L, smooth Tchebycheff, random weights, ...) are such functions::

        from torchjd.scalarization import GeometricMean
        LossModule(terms, balancer=Scalarizer(GeometricMean()))

    Parameters of the scalarizer are learned with the model, and its buffers are saved; state that it keeps elsewhere
    is its own affair.

    Args:
        scalarizer: from a 1-d tensor of losses to a 0-d tensor.

    Raises:
        TypeError: `scalarizer` cannot be called.
        ValueError: it did not return a scalar.

    >>> import torch
    >>> from lightning_losses import LossModule, losses
    >>> criterion = LossModule({"a": losses.MSE(), "b": losses.MSE()}, balancer=Scalarizer(torch.max))
    >>> criterion(torch.tensor([2.0]), torch.tensor([0.0]))
    tensor(4.)
    """

    is_weighted_sum: ClassVar[bool] = False

    def __init__(self, scalarizer: nn.Module | Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        if not callable(scalarizer):
            raise TypeError(message("scalarizer", "a callable from losses to a scalar", scalarizer))
        self.scalarizer = scalarizer

    def forward(self, losses: Tensor, priors: Tensor, present: Present, probe: Probe | None) -> Balanced:
        """The scalar, and its derivative by each loss."""
        graph = losses.requires_grad
        with torch.enable_grad():
            inputs = losses if graph else losses.detach().requires_grad_()
            total = self.scalarizer(priors[present] * inputs)
            if not isinstance(total, Tensor) or total.numel() != 1:
                raise ValueError(f"`scalarizer` must return a scalar tensor, found {total!r}.")
            (weights,) = torch.autograd.grad(total.reshape(()), inputs, retain_graph=True)
        return Balanced(total.reshape(()) if graph else total.reshape(()).detach(), weights)

    def extra_repr(self) -> str:
        """The function."""
        return type(self.scalarizer).__name__ if isinstance(self.scalarizer, nn.Module) else ""
