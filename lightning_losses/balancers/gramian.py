"""Any method that reads the weights off the Gramian of the task gradients, TorchJD's among them."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_losses.balancers.base import Balanced, Balancer, Present, weighted_sum
from lightning_losses.balancers.probe import Probe
from lightning_losses.balancers.window import Measurement, Window
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

    The weights of a batch are those of its own Gramian, over all ranks. Micro-batches of one optimizer step cannot know
    theirs, because it is complete only with the last of them; ``lagged=True`` weighs a step by the Gramian of the one
    before, as GradNorm does, and then accumulation changes nothing.

    Args:
        weighting: from a symmetric positive semi-definite [T, T] tensor to T weights.
        takes: ``"gramian"``, or ``"matrix"`` for a method written on the Jacobian that depends on it only through G,
            as Nash-MTL does: it receives the square root of G, whose Gramian is G.
        update_every: measure at every n-th optimizer step only, and keep the weights in between.
        lagged: whether a step is weighed by the Gramian of the step before.

    Raises:
        TypeError: `weighting` cannot be called.
        ValueError: it returned something else than T weights, or gradients are measured in branches, which show none
            before the backward.

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
        self,
        weighting: nn.Module | Callable[[Tensor], Tensor],
        takes: str = "gramian",
        update_every: int = 1,
        lagged: bool = False,
    ) -> None:
        super().__init__()
        if not callable(weighting):
            raise TypeError(message("weighting", "a callable from a Gramian to weights", weighting))
        self.weighting = weighting
        self.takes = check_choice("takes", takes, ("gramian", "matrix"))
        self.update_every = int(check_number("update_every", update_every, at_least=1))
        self.lagged = lagged
        self.priors = torch.empty(0)
        self._next: Tensor | None = None

    def bind(self, names: Sequence[str], priors: Sequence[float]) -> None:
        """Start at the user's weights."""
        super().bind(names, priors)
        self.window = Window(len(names), pairwise=True)
        self._buffer("weights", torch.ones(len(names)))

    def forward(self, losses: Tensor, priors: Tensor, present: Present, probe: Probe | None) -> Balanced:
        """The weights of this batch's Gramian over all ranks, or if lagged of the last step's."""
        weights = self.weights
        if probe is not None and self.steps % self.update_every == 0:
            self.priors = priors
            self.window.add(losses, present, probe)
            if not self.lagged:
                weights = self._next = self._weigh(self.window.close())
        return weighted_sum(losses, (priors * weights.to(losses.dtype))[present])

    @torch.no_grad()
    def step(self) -> None:
        """Keep the weights that the step has shown, and count it."""
        if self.lagged:
            self._next = self._weigh(self.window.close())
        if self._next is not None:
            self.weights.copy_(self._next)
        self._next = None
        super().step()

    def discard(self) -> None:
        """Forget the Gramian since the last step."""
        self.window.discard()
        self._next = None

    @torch.no_grad()
    def _weigh(self, measurement: Measurement | None) -> Tensor:
        """What the method makes of a Gramian; the weights as they are where there is none."""
        if measurement is None or measurement.products is None:
            return self.weights
        seen = measurement.seen.nonzero().flatten().cpu()
        gramian = measurement.products * torch.outer(self.priors, self.priors)
        gramian = gramian.double().cpu()[seen][:, seen]  # the methods solve small problems on the host
        if not gramian.isfinite().all():  # an overflow in float16: keep the last weights
            return self.weights
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.steps)
            found = self.weighting(gramian if self.takes == "gramian" else _square_root(gramian))
        if not isinstance(found, Tensor) or found.shape != seen.shape:
            raise ValueError(f"`weighting` must return {len(seen)} weights, one a term, found {found!r}.")
        return self.weights.index_copy(0, seen.to(self.weights.device), found.to(self.weights))

    def extra_repr(self) -> str:
        """The method."""
        return type(self.weighting).__name__ if isinstance(self.weighting, nn.Module) else ""


def _square_root(gramian: Tensor) -> Tensor:
    """A matrix R with R R^T equal to the Gramian."""
    values, vectors = torch.linalg.eigh(gramian)
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root
