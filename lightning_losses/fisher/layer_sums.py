"""Sums over samples of squared gradients at one layer, from its input and its output's gradient alone."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from lightning_losses.curvature.outer_norms import CHUNK, Kernel, met, without_gaps
from lightning_losses.curvature.sample_gradients import SMALL, by_group, embedding_gradients, small_gradients
from lightning_losses.curvature.sample_norms import class_of
from lightning_losses.numerics import at_least_float32

Magnitude = Callable[[Tensor], Tensor]
"""What is summed of each entry of a gradient, `torch.square` or `torch.abs`; of a product it is the product of both."""

Sums = dict[str, Tensor]
"""By name of a parameter: the sum over samples, in the parameter's shape."""


def layer_sums(layer: nn.Module, input: Tensor, gradient: Tensor, magnitude: Magnitude = torch.square) -> Sums:
    r"""The sum over the rows of a batch of the squared gradients that they give to a layer's parameters.

    Where a row of the input meets a weight once, its gradient is :math:`g a^\top`, and the sum of squares is a product
    of two matrices, :math:`\sum_n (g_n a_n^\top)^2 = (g^2)^\top a^2`. Where it meets it at several places (tokens,
    pixels), what it gives at all of them is summed before it is squared, for as many rows at a time as fit into a
    cache.

    Args:
        layer: one for which `has_sample_norms` holds.
        input: what it was given, [rows, ...].
        gradient: derivative by what it returned, [rows, ...].
        magnitude: `torch.square` or `torch.abs`.

    Returns:
        For each of its parameters a tensor of its shape, in float32 or wider.

    >>> layer, x, g = nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0]])
    >>> layer_sums(layer, x, g)
    {'weight': tensor([[36., 64.]]), 'bias': tensor([4.])}
    """
    sums = _FORMULAS[class_of(layer)](layer, at_least_float32(input), at_least_float32(gradient), magnitude)
    own = {name: parameter for name, parameter in layer._parameters.items() if parameter is not None}
    return {name: sums[name].view(parameter.shape) for name, parameter in own.items()}


def _linear(layer: nn.Module, a: Tensor, g: Tensor, magnitude: Magnitude) -> Sums:
    a, g = (tensor.reshape(len(tensor), -1, tensor.shape[-1]) for tensor in (a, g))
    if a.shape[1] == 1:
        weight = magnitude(g.squeeze(1)).mT @ magnitude(a.squeeze(1))
    else:
        weight = _of_products(g.mT, a.mT, magnitude)
    return {"weight": weight, "bias": magnitude(g.sum(1)).sum(0)}


def _convolution(layer: nn.Module, a: Tensor, g: Tensor, magnitude: Magnitude) -> Sums:
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    shift = magnitude(g.flatten(2).sum(2)).sum(0)
    a, g = by_group(layer, a, g)
    a, kernel = without_gaps(a, g, Kernel(layer.kernel_size, layer.stride, layer.dilation))
    places = [_of_products(y, x, magnitude, layer.groups) for x, y in met(a, g, kernel)]
    return {"weight": torch.stack(places, -1), "bias": shift}


def _of_products(g: Tensor, a: Tensor, magnitude: Magnitude, groups: int = 1) -> Tensor:
    """Of sums over places, of [N * groups, O, T] and [N * groups, I, T]: [groups * O, I]."""
    size, products = groups * max(1, CHUNK // (groups * g.shape[1] * a.shape[1])), (g.shape[1], a.shape[1])
    total = g.new_zeros(groups, *products)
    for y, x in zip(torch.split(g, size), torch.split(a, size), strict=True):
        total += magnitude(y @ x.mT).view(-1, groups, *products).sum(0)
    return total.flatten(0, 1)


def _small(layer: nn.Module, a: Tensor, g: Tensor, magnitude: Magnitude) -> Sums:
    return {name: magnitude(rows).sum(0) for name, rows in small_gradients(layer, a, g).items()}


def _embedding(layer: nn.Module, ids: Tensor, g: Tensor, magnitude: Magnitude) -> Sums:
    table = cast(nn.Embedding, layer)
    _, looked_up, gradients = embedding_gradients(table, ids, g)
    zeros = g.new_zeros(table.num_embeddings, table.embedding_dim)
    return {"weight": zeros.index_add_(0, looked_up, magnitude(gradients))}


_FORMULAS: dict[type[nn.Module], Callable[[nn.Module, Tensor, Tensor, Magnitude], Sums]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.Embedding: _embedding,
    **dict.fromkeys(SMALL, _small),
}
