"""Squared norms of every sample's gradient at one layer, from its input and its output's gradient alone."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_losses.curvature.outer_norms import Kernel, correlation_norms, outer_norms
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

    >>> layer, x, g = nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0]])
    >>> sample_norms(layer, x, g)
    {'weight': tensor([100.]), 'bias': tensor([4.])}
    """
    norms = _FORMULAS[_class_of(layer)](layer, at_least_float32(input), at_least_float32(gradient))
    return {name: values for name, values in norms.items() if layer._parameters[name] is not None}


def has_formula(layer: nn.Module) -> bool:
    """Whether a formula is known for a layer of this class, set up as it is."""
    if isinstance(layer, nn.Embedding) and (layer.max_norm or layer.scale_grad_by_freq or layer.sparse):
        return False
    return _class_of(layer) in _FORMULAS


def has_sample_norms(layer: nn.Module) -> bool:
    """Whether a formula is known that holds in the mode in which the layer is now."""
    return has_formula(layer) and not (isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training)


def _class_of(layer: nn.Module) -> type[nn.Module]:
    """Its class; fully_shard makes it an instance of (FSDPModule, the class)."""
    found: type[nn.Module] = type(layer)
    return found.__mro__[2] if found.__mro__[1].__name__ == "FSDPModule" else found


def _linear(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    a, g = (tensor.reshape(len(tensor), -1, tensor.shape[-1]) for tensor in (a, g))
    return {"weight": outer_norms(a, g)} | _shift(layer, g, 1)


def _convolution(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    padding = layer._reversed_padding_repeated_twice
    if any(padding):
        a = F.pad(a, padding, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    rows, kernel = len(a), Kernel(layer.kernel_size, layer.stride, layer.dilation)
    a, g = (tensor.reshape(rows * layer.groups, -1, *tensor.shape[2:]) for tensor in (a, g))
    norms = {"weight": correlation_norms(a, g, kernel)} | _shift(layer, g.flatten(2), 2)
    return {name: values.view(rows, -1).sum(1) for name, values in norms.items()}


def _shift(layer: nn.Module, g: Tensor, axis: int) -> Norms:
    """Of what is added at all places along an axis, if anything is."""
    return {} if layer._parameters["bias"] is None else {"bias": g.sum(axis).square().sum(1)}


def _batch_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    a, g = (tensor.flatten(2) if tensor.ndim > 2 else tensor.unsqueeze(2) for tensor in (a, g))
    shift = g.sum(2)
    scale = ((a * g).sum(2) - layer.running_mean * shift) * (layer.running_var + layer.eps).rsqrt()
    return {"weight": scale.square().sum(1), "bias": shift.square().sum(1)}


def _group_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.GroupNorm)
    return _by_channel(F.group_norm(a, layer.num_groups, eps=layer.eps), g)


def _by_channel(plain: Tensor, g: Tensor) -> Norms:
    """A scale and a shift for each index of the second axis."""
    plain, g = (tensor.flatten(2) if tensor.ndim > 2 else tensor.unsqueeze(2) for tensor in (plain, g))
    return {"weight": (plain * g).sum(2).square().sum(1), "bias": g.sum(2).square().sum(1)}


def _layer_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.LayerNorm)
    return _by_feature(F.layer_norm(a, layer.normalized_shape, eps=layer.eps), g, len(layer.normalized_shape))


def _rms_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.RMSNorm)
    norms = _by_feature(F.rms_norm(a, layer.normalized_shape, eps=layer.eps), g, len(layer.normalized_shape))
    return {"weight": norms["weight"]}


def _by_feature(plain: Tensor, g: Tensor, axes: int) -> Norms:
    """A scale and a shift for each index of the last axes."""
    plain, g = (tensor.reshape(len(tensor), -1, tensor.shape[-axes:].numel()) for tensor in (plain, g))
    return {"weight": (plain * g).sum(1).square().sum(1), "bias": g.sum(1).square().sum(1)}


def _embedding(layer: nn.Module, ids: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.Embedding)
    rows = torch.arange(len(ids), device=ids.device).unsqueeze(1)
    seen, position = torch.unique(rows * layer.num_embeddings + ids.reshape(len(ids), -1), return_inverse=True)
    sums = g.new_zeros(len(seen), g.shape[-1]).index_add_(0, position.flatten(), g.reshape(-1, g.shape[-1]))
    norms = sums.square().sum(1)
    if layer.padding_idx is not None:
        norms = norms.masked_fill(seen % layer.num_embeddings == layer.padding_idx, 0.0)
    return {"weight": g.new_zeros(len(ids)).index_add_(0, seen // layer.num_embeddings, norms)}


_FORMULAS: dict[type[nn.Module], Callable[[nn.Module, Tensor, Tensor], Norms]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    nn.Embedding: _embedding,
}
