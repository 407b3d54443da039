"""Every sample's gradient at one layer, for parameters that are small enough to form it, and what convolutions share.

All take the layer, its input `a` and its output's gradient `g`, both [rows, ...] in float32 or wider.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Gradients = dict[str, Tensor]
"""By name of the layer's parameter: the gradient of each row, [rows, *]."""


def small_gradients(layer: nn.Module, a: Tensor, g: Tensor) -> Gradients:
    """Of the scales and shifts of a normalisation layer, flattened, [rows, F]; BatchNorm in evaluation mode.

    >>> gradients = small_gradients(nn.GroupNorm(1, 2), torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 5.0]]))
    >>> gradients["bias"]
    tensor([[2., 5.]])
    """
    return SMALL[next(kind for kind in type(layer).__mro__ if kind in SMALL)](layer, a, g)


def embedding_gradients(layer: nn.Embedding, ids: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each row of ids gives to each embedding that it looks up: rows [U], embeddings [U], gradients [U, D]."""
    rows = torch.arange(len(ids), device=ids.device).unsqueeze(1)
    seen, position = torch.unique(rows * layer.num_embeddings + ids.reshape(len(ids), -1), return_inverse=True)
    sums = g.new_zeros(len(seen), g.shape[-1]).index_add_(0, position.flatten(), g.reshape(-1, g.shape[-1]))
    looked_up = seen % layer.num_embeddings
    if layer.padding_idx is not None:
        sums = sums.masked_fill((looked_up == layer.padding_idx).unsqueeze(1), 0.0)
    return seen // layer.num_embeddings, looked_up, sums


def by_group(layer: nn.Module, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The padded input and the output's gradient of a convolution, with each group as a row of its own."""
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    padding = layer._reversed_padding_repeated_twice
    if any(padding):
        a = F.pad(a, padding, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    rows = len(a) * layer.groups
    return a.reshape(rows, -1, *a.shape[2:]), g.reshape(rows, -1, *g.shape[2:])


def _batch_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Gradients:
    assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    a, g = (tensor.flatten(2) if tensor.ndim > 2 else tensor.unsqueeze(2) for tensor in (a, g))
    shift = g.sum(2)
    scale = ((a * g).sum(2) - layer.running_mean * shift) * (layer.running_var + layer.eps).rsqrt()
    return {"weight": scale, "bias": shift}


def _group_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Gradients:
    assert isinstance(layer, nn.GroupNorm)
    return _by_channel(F.group_norm(a, layer.num_groups, eps=layer.eps), g)


def _by_channel(plain: Tensor, g: Tensor) -> Gradients:
    """A scale and a shift for each index of the second axis."""
    plain, g = (tensor.flatten(2) if tensor.ndim > 2 else tensor.unsqueeze(2) for tensor in (plain, g))
    return {"weight": (plain * g).sum(2), "bias": g.sum(2)}


def _layer_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Gradients:
    assert isinstance(layer, nn.LayerNorm)
    return _by_feature(F.layer_norm(a, layer.normalized_shape, eps=layer.eps), g, len(layer.normalized_shape))


def _rms_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Gradients:
    assert isinstance(layer, nn.RMSNorm)
    gradients = _by_feature(F.rms_norm(a, layer.normalized_shape, eps=layer.eps), g, len(layer.normalized_shape))
    return {"weight": gradients["weight"]}


def _by_feature(plain: Tensor, g: Tensor, axes: int) -> Gradients:
    """A scale and a shift for each index of the last axes."""
    plain, g = (tensor.reshape(len(tensor), -1, tensor.shape[-axes:].numel()) for tensor in (plain, g))
    return {"weight": (plain * g).sum(1), "bias": g.sum(1)}


SMALL: dict[type[nn.Module], Callable[[nn.Module, Tensor, Tensor], Gradients]] = {
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
}
"""The layers with scales and shifts."""
