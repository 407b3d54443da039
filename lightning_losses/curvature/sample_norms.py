"""Squared norms of every sample's gradient at one layer, from its input and its output's gradient alone."""

from collections.abc import Callable

from torch import Tensor, nn

from lightning_losses.curvature.outer_norms import Kernel, correlation_norms, outer_norms
from lightning_losses.curvature.sample_gradients import SMALL, by_group, embedding_gradients, small_gradients
from lightning_losses.numerics import at_least_float32

Norms = dict[str, Tensor]
"""By name of the layer's parameter: squared norms of each row's gradient, [rows]."""


def sample_norms(layer: nn.Module, input: Tensor, gradient: Tensor) -> Norms:
    r"""Squared norms of the gradients that the rows of a batch give to a layer's parameters.

    Where a row of the input meets a weight W once, its gradient is :math:`g a^\top` and its squared norm
    :math:`\lVert a \rVert^2 \lVert g \rVert^2` (Goodfellow 2015, arXiv:1510.01799). Where it meets it at several
    places (tokens, pixels), see `outer_norms`.

    Args:
        layer: one for which `has_sample_norms` holds.
        input: what it was given, [rows, ...].
        gradient: derivative by what it returned, [rows, ...].

    Returns:
        For each of its parameters [rows], in float32 or wider.

    >>> import torch
    >>> layer, x, g = nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0]])
    >>> sample_norms(layer, x, g)
    {'weight': tensor([100.]), 'bias': tensor([4.])}
    """
    norms = _FORMULAS[class_of(layer)](layer, at_least_float32(input), at_least_float32(gradient))
    return {name: values for name, values in norms.items() if layer._parameters[name] is not None}


def has_formula(layer: nn.Module) -> bool:
    """Whether a formula is known for a layer of this class, set up as it is."""
    if isinstance(layer, nn.Embedding) and (layer.max_norm or layer.scale_grad_by_freq or layer.sparse):
        return False
    return class_of(layer) in _FORMULAS and layer._parameters.keys() <= {"weight", "bias"}


def has_sample_norms(layer: nn.Module) -> bool:
    """Whether a formula is known that holds in the mode in which the layer is now."""
    return has_formula(layer) and not (isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training)


def class_of(layer: nn.Module) -> type[nn.Module]:
    """Its class; fully_shard makes it an instance of (FSDPModule, the class)."""
    found: type[nn.Module] = type(layer)
    return found.__mro__[2] if found.__mro__[1].__name__ == "FSDPModule" else found


def _linear(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    a, g = (tensor.reshape(len(tensor), -1, tensor.shape[-1]) for tensor in (a, g))
    return {"weight": outer_norms(a, g)} | _shift(layer, g, 1)


def _convolution(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    rows, kernel = len(a), Kernel(layer.kernel_size, layer.stride, layer.dilation)
    a, g = by_group(layer, a, g)
    norms = {"weight": correlation_norms(a, g, kernel)} | _shift(layer, g.flatten(2), 2)
    return {name: values.view(rows, -1).sum(1) for name, values in norms.items()}


def _shift(layer: nn.Module, g: Tensor, axis: int) -> Norms:
    """Of what is added at all places along an axis, if anything is."""
    return {} if layer._parameters["bias"] is None else {"bias": g.sum(axis).square().sum(1)}


def _small(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    """Of parameters that are few enough to form each row's gradient."""
    return {name: rows.flatten(1).square().sum(1) for name, rows in small_gradients(layer, a, g).items()}


def _embedding(layer: nn.Module, ids: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.Embedding)
    rows, _, gradients = embedding_gradients(layer, ids, g)
    return {"weight": g.new_zeros(len(ids)).index_add_(0, rows, gradients.square().sum(1))}


_FORMULAS: dict[type[nn.Module], Callable[[nn.Module, Tensor, Tensor], Norms]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.Embedding: _embedding,
    **dict.fromkeys(SMALL, _small),
}
