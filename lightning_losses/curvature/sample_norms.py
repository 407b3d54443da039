"""Squared norms of every sample's gradient at one layer, from its input and its output's gradient alone."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_losses.numerics import at_least_float32

Norms = dict[str, Tensor]
"""By name of the layer's parameter: squared norms of each row's gradient, [rows]."""


def sample_norms(layer: nn.Module, input: Tensor, gradient: Tensor) -> Norms:
    r"""Squared norms of the gradients that the rows of a batch give to a layer's parameters.

    Where a row of the input meets a weight W once, its gradient is :math:`g a^\top` and its squared norm
    :math:`\lVert a \rVert^2 \lVert g \rVert^2` (Goodfellow 2015, arXiv:1510.01799). Where it meets it at T places
    (tokens, pixels), :math:`\sum_{t,t'} (a_t \cdot a_{t'})(g_t \cdot g_{t'}) = \lVert \sum_t g_t a_t^\top \rVert^2`,
    and the cheaper side is computed: the T x T products of Gram matrices, or the gradients themselves.

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
    norms = _FORMULAS[type(layer)](layer, at_least_float32(input), at_least_float32(gradient))
    return {name: values for name, values in norms.items() if layer._parameters[name] is not None}


def has_sample_norms(layer: nn.Module) -> bool:
    """Whether a formula is known for a layer of this class, set up as it is."""
    if type(layer) not in _FORMULAS:
        return False
    if isinstance(layer, nn.Embedding):
        return not (layer.max_norm or layer.scale_grad_by_freq or layer.sparse)
    return not (isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training)


def _linear(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    if a.ndim == 2:
        squares = g.square().sum(1)
        return {"weight": a.square().sum(1) * squares, "bias": squares}
    return _places(a.flatten(1, -2).mT, g.flatten(1, -2).mT)


def _places(a: Tensor, g: Tensor) -> Norms:
    """Inputs [rows, K, T] and gradients [rows, E, T] of T places."""
    places, inputs, outputs = a.shape[2], a.shape[1], g.shape[1]
    if places * (inputs + outputs) < inputs * outputs:
        weight = ((a.mT @ a) * (g.mT @ g)).sum((1, 2))
    else:
        weight = (g @ a.mT).square().sum((1, 2))
    return {"weight": weight, "bias": g.sum(2).square().sum(1)}


def _convolution(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    if isinstance(layer, nn.Conv1d):
        a, g = a.unsqueeze(2), g.unsqueeze(2)
    kernel, stride, dilation = (_two(size) for size in (layer.kernel_size, layer.stride, layer.dilation))
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padding = layer._reversed_padding_repeated_twice
    a = F.pad(a, (*padding, 0, 0) if isinstance(layer, nn.Conv1d) else padding, mode=mode) if any(padding) else a
    if kernel == (1, 1) and layer.groups == 1:
        return _places(a[:, :, :: stride[0], :: stride[1]].flatten(2), g.flatten(2))
    patches = F.unfold(a, kernel, dilation, stride=stride)
    rows, groups = len(a), layer.groups
    found = _places(patches.view(rows * groups, -1, patches.shape[2]), g.reshape(rows * groups, -1, patches.shape[2]))
    return {name: values.view(rows, groups).sum(1) for name, values in found.items()}


def _two(size: tuple[int, ...]) -> tuple[int, int]:
    return (1, size[0]) if len(size) == 1 else (size[0], size[1])


def _batch_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Norms:
    assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
    plain = F.batch_norm(a, layer.running_mean, layer.running_var, eps=layer.eps)
    return _by_channel(plain, g)


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
    ids, g = ids.reshape(len(ids), -1), g.reshape(len(ids), -1, g.shape[-1])
    if layer.padding_idx is not None:
        g = g.masked_fill((ids == layer.padding_idx).unsqueeze(2), 0.0)
    same = (ids.unsqueeze(2) == ids.unsqueeze(1)).to(g)
    return {"weight": ((g @ g.mT) * same).sum((1, 2))}


_FORMULAS: dict[type[nn.Module], Callable[[nn.Module, Tensor, Tensor], Norms]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    nn.Embedding: _embedding,
}
