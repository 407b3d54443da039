"""Any method that reads the weights off the Gramian of the task gradients, TorchJD's among them."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_losses.balancers.base import Balanced, Balancer, Present, weighted_sum
from lightning_losses.balancers.probe import Probe
from lightning_losses.balancers.window import Window
from lightning_losses.checks import check_choice, check_number, message


class Gramian(Balancer):
    r"""Weights from the Gramian :math:`G_{ij} = \langle g_i, g_j \rangle` of the gradients of :math:`p_i L_i`.

    UPGrad, MGDA, PCGrad, CAGrad, Aligned-MTL, IMTL-G and others need no more than G. Their weightings come from
    `TorchJD <https://torchjd.org>`_ as they are (``pip install "lightning-losses[torchjd]"``)::

        from torchjd.aggregation import NashMTL, UPGradWeighting
        LossModule(terms, balancer=Gramian(UPGradWeighting()))
        LossModule(terms, balancer=Gramian(NashMTL(n_tasks=2).weighting, takes="matrix"))

    Unlike Jacobian descent by hand this leaves Lightning's automatic optimization alone: the weights multiply the
    losses, and one ordinary backward follows. With a feature probe, G is that of the features' gradients, an upper
    bound in the sense of MGDA-UB (Sener & Koltun 2018, arXiv:1810.04650); with a parameter probe it is exact there.

    A method may draw random numbers (PCGrad's order of tasks). It draws them from a generator seeded by the step, so
    that ranks agree and a resumed run repeats them.

    Args:
        weighting: from a symmetric positive semi-definite [T, T] tensor to T weights.
        takes: ``"gramian"``, or ``"matrix"`` for a method written on the Jacobian that depends on it only through G,
            as Nash-MTL does: it receives the square root of G, whose Gramian is G.
        update_every: measure at every n-th optimizer step only, and keep the weights in between.

    Raises:
        TypeError: `weighting` cannot be called.
        ValueError: it returned something else than T weights.

    >>> import torch
    >>> from lightning_losses import LossModule, losses
    >>> equal_norms = Gramian(lambda gramian: gramian.diagonal().rsqrt())
    >>> criterion = LossModule({"a": losses.MSE(), "b": losses.MSE()}, balancer=equal_norms)
    >>> x = torch.tensor([3.0], requires_grad=True)
    >>> round(criterion(x, torch.zeros(1), shared=x).item(), 3)
    3.0
    """

    needs_probe: ClassVar[bool] = True

    weights: Tensor

    def __init__(
        self, weighting: nn.Module | Callable[[Tensor], Tensor], takes: str = "gramian", update_every: int = 1
    ) -> None:
        super().__init__()
        if not callable(weighting):
            raise TypeError(message("weighting", "a callable from a Gramian to weights", weighting))
        self.weighting = weighting
        self.takes = check_choice("takes", takes, ("gramian", "matrix"))
        self.update_every = int(check_number("update_every", update_every, at_least=1))
        self.steps = 0

    def bind(self, names: Sequence[str], priors: Sequence[float]) -> None:
        """Start at the user's weights."""
        super().bind(names, priors)
        self._buffer("weights", torch.ones(len(names)))

    def forward(self, losses: Tensor, priors: Tensor, present: Present, probe: Probe | None) -> Balanced:
        """Weights of this very batch's Gramian, over all ranks."""
        if probe is not None and self.steps % self.update_every == 0:
            window = Window(len(self.names), pairwise=True)
            window.add(losses, present, probe)
            measurement = window.close()
            assert measurement is not None  # one batch was added
            assert measurement.products is not None  # with a probe
            self._update(measurement.products, priors, present)
        return weighted_sum(losses, (priors * self.weights.to(losses.dtype))[present])

    def step(self) -> None:
        """Count the step."""
        self.steps += 1

    @torch.no_grad()
    def _update(self, gramian: Tensor, priors: Tensor, present: Present) -> None:
        scaled = (gramian * torch.outer(priors, priors).float())[present]
        scaled = scaled if isinstance(present, slice) else scaled[:, present]
        scaled = scaled.double().cpu()  # the methods solve small problems on the host
        if not scaled.isfinite().all():  # an overflow in float16: keep the last weights
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.steps)
            weights = self.weighting(scaled if self.takes == "gramian" else _square_root(scaled))
        if not isinstance(weights, Tensor) or weights.shape != (len(scaled),):
            raise ValueError(f"`weighting` must return {len(scaled)} weights, one a term, found {weights!r}.")
        self.weights[present] = weights.to(self.weights)

    def get_extra_state(self) -> dict[str, Any]:
        """The number of steps taken."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.steps = state["steps"]

    def extra_repr(self) -> str:
        """The method."""
        return type(self.weighting).__name__ if isinstance(self.weighting, nn.Module) else ""


def _square_root(gramian: Tensor) -> Tensor:
    """A matrix R with R R^T equal to the Gramian."""
    values, vectors = torch.linalg.eigh(gramian)
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root
