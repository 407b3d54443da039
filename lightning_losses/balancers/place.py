"""From what the user calls shared to a probe that measures there."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from lightning_losses.balancers.branches import BackwardProbe, Branches
from lightning_losses.balancers.probe import FeatureProbe, ParameterProbe, Probe
from lightning_losses.checks import nearest

Shared = Branches | Tensor | nn.Module | Sequence[Tensor]
"""Where gradients are measured: features (a tensor or several), their branches, a parameter or several, or a module."""


class SharedPath:
    """A path to the shared place, in a model that is told later and does not become part of the loss.

    Args:
        path: of a module or a parameter; None for no path.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._model: nn.Module | None = None

    @property
    def is_attached(self) -> bool:
        """Whether the model is known."""
        return self._model is not None

    def attach(self, model: nn.Module) -> None:
        """Look the path up in `model` from now on.

        Raises:
            ValueError: the model has no module or parameter of that path; the message names the nearest.
        """
        self._model = model
        self.find()

    def find(self) -> nn.Module | Tensor | None:
        """What the path names; None without a path.

        Raises:
            RuntimeError: the model is not known yet.
            ValueError: it has nothing of that path any more.
        """
        if self.path is None:
            return None
        if self._model is None:
            raise RuntimeError(
                f"`shared`={self.path!r} is a path in a model that is not known yet. Call criterion.attach(self) in "
                "the LightningModule's __init__ or setup, or pass shared=features in the call."
            )
        for look_up in (self._model.get_submodule, self._model.get_parameter):
            with suppress(AttributeError):
                return look_up(self.path)
        places = [name for name, _ in (*self._model.named_modules(), *self._model.named_parameters())]
        raise ValueError(
            f"`shared` must be the path of a module or parameter, found {self.path!r}. {nearest(self.path, places)}"
        )


def make_probe(
    shared: Shared | None, losses: Mapping[str, Tensor], scaler: torch.amp.GradScaler | None = None
) -> Probe:
    """The probe that fits the place.

    Args:
        shared: the place.
        losses: the losses by name, each with a graph of its own.
        scaler: the GradScaler of the training, if it has one.

    Raises:
        TypeError: the place is made of something else than tensors.
        ValueError: there is nothing to measure at: no `shared`, no parameter in it, or no gradient asked of it; or
            parameters that FSDP has sharded.
    """
    if shared is None:
        raise ValueError(
            "The balancer measures gradients, so training calls need `shared`: the features that all terms are "
            "computed from, as in criterion(logits, target, shared=features), or a path, as in "
            "LossModule(..., shared='net.neck')."
        )
    if isinstance(shared, Branches):
        return BackwardProbe(shared, losses)
    tensors = list(shared.parameters()) if isinstance(shared, nn.Module) else shared
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError("`shared` must be a tensor, several tensors or a module.")
    tensors = [t for t in tensors if t.requires_grad]
    if not tensors:
        raise ValueError("`shared` must hold a tensor that requires a gradient, found none. Is it detached or frozen?")
    if any(_is_sharded(t) for t in tensors):
        raise ValueError(
            "`shared` must not be parameters that FSDP has sharded: autograd cannot measure there. Pass the features "
            "that the terms are computed from: criterion(..., shared=features)."
        )
    kind = ParameterProbe if isinstance(tensors[0], nn.Parameter) else FeatureProbe
    return kind(tensors, losses, scaler)


def _is_sharded(tensor: Tensor) -> bool:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
