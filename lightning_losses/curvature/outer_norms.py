r"""Squared norms of sums of outer products, sample by sample.

The gradient of a weight is such a sum over positions, :math:`\sum_t g_t a_t^\top`: one in a linear layer, one for each
place of the kernel in a convolution. There are two ways to its squared norm: form it, or take all pairs of positions,

.. math::
    \Big\lVert \sum_t g_t a_t^\top \Big\rVert^2 = \sum_{t t'} \langle g_t, g_{t'} \rangle \langle a_t, a_{t'} \rangle.

The first is cheaper where positions are many and channels few, at the entrance of a network, the second in its depth.
"""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 2**19
"""Numbers of an intermediate result: what fits into the cache of a core."""

PASS = 16
"""Multiplications of a matrix product that take as long as one element by element."""


class Kernel(NamedTuple):
    """How a convolution moves over its padded input, in each dimension.

    Args:
        size: of the kernel.
        stride: from position to position.
        dilation: from place to place of the kernel.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]


def outer_norms(a: Tensor, g: Tensor) -> Tensor:
    r""":math:`\lVert \sum_t g_t a_t^\top \rVert^2` of every sample, [N].

    Args:
        a: inputs of a linear layer, [N, T, I].
        g: gradients at its outputs, [N, T, O].

    >>> outer_norms(torch.ones(1, 3, 2), torch.ones(1, 3, 1))
    tensor([18.])
    """
    positions, inputs, outputs = a.shape[1], a.shape[2], g.shape[2]
    if positions == 1:
        return a.square().sum((1, 2)) * g.square().sum((1, 2))
    if positions * (inputs + outputs) < inputs * outputs:
        return _in_chunks(lambda x, y: (x @ x.mT * (y @ y.mT)).sum((1, 2)), a, g, positions**2)
    return _in_chunks(lambda x, y: (y.mT @ x).square().sum((1, 2)), a, g, inputs * outputs)


def correlation_norms(a: Tensor, g: Tensor, kernel: Kernel) -> Tensor:
    r""":math:`\sum_k \lVert \sum_t g_t a_{st + dk}^\top \rVert^2` of every sample, [N].

    With t the positions of the output, k the places of the kernel, s the stride and d the dilation.

    Args:
        a: padded inputs of a convolution, [N, I, *].
        g: gradients at its outputs, [N, O, *].
        kernel: size, stride and dilation, in as many dimensions.

    >>> correlation_norms(torch.ones(1, 1, 3), torch.ones(1, 1, 2), Kernel((2,), (1,), (1,)))
    tensor([8.])
    """
    a, kernel = without_gaps(a, g, kernel)
    points, positions = math.prod(a.shape[2:]), math.prod(g.shape[2:])
    by_pairs = points**2 * a.shape[1] + positions**2 * (g.shape[1] + sum(kernel.size) * PASS)
    if by_pairs < math.prod(kernel.size) * positions * a.shape[1] * g.shape[1]:
        return _in_chunks(lambda x, y: _by_pairs(x, y, kernel), a, g, points**2)
    return _in_chunks(lambda x, y: _by_places(x, y, kernel), a, g, a[0].numel() + g[0].numel())


def _in_chunks(norms: Callable[[Tensor, Tensor], Tensor], a: Tensor, g: Tensor, numbers: int) -> Tensor:
    size = max(1, CHUNK // numbers)
    return torch.cat([norms(x, y) for x, y in zip(torch.split(a, size), torch.split(g, size), strict=True)])


def without_gaps(a: Tensor, g: Tensor, kernel: Kernel) -> tuple[Tensor, Kernel]:
    """Leaves out what a kernel of one place steps over and what no position reaches."""
    strides = list(kernel.stride)
    for i, (positions, size, stride, dilation) in enumerate(zip(g.shape[2:], *kernel, strict=True)):
        if size == 1:
            a, strides[i] = _window(a, (i + 2,), 0, stride, positions), 1
        else:
            a = _window(a, (i + 2,), 0, 1, (positions - 1) * stride + (size - 1) * dilation + 1)
    return a, kernel._replace(stride=tuple(strides))


def _by_pairs(a: Tensor, g: Tensor, kernel: Kernel) -> Tensor:
    """All pairs of positions: those of what a kernel meets are sums, along the kernel, of those of points."""
    inside, outside = a.shape[2:], g.shape[2:]
    a, g = a.flatten(2), g.flatten(2)
    pairs = (a.mT @ a).view(-1, *inside, *inside)
    for i, (positions, size, stride, dilation) in enumerate(zip(outside, *kernel, strict=True), start=1):
        places = range(0, size * dilation, dilation)
        windows = (_window(pairs, (i, i + len(inside)), place, stride, positions) for place in places)
        pairs = reduce(operator.add, windows)
    return (pairs.reshape(len(a), g.shape[2], -1) * (g.mT @ g)).sum((1, 2))


def _by_places(a: Tensor, g: Tensor, kernel: Kernel) -> Tensor:
    """The gradient at one place of the kernel after another."""
    return reduce(operator.add, ((y @ x.mT).square().sum((1, 2)) for x, y in met(a, g, kernel)))


def met(a: Tensor, g: Tensor, kernel: Kernel) -> Iterator[tuple[Tensor, Tensor]]:
    """What each place of the kernel meets, [N, I, T], and the gradients there, [N, O, T].

    At stride 1 these are stretches of the flattened input from different starts: nothing is copied. Where a stretch
    runs over an edge, the gradient is 0.
    """
    inside, outside = a.shape[2:], g.shape[2:]
    places = product(*(range(0, size * by, by) for size, by in zip(kernel.size, kernel.dilation, strict=True)))
    if any(stride > 1 for stride in kernel.stride):
        g = g.flatten(2)
        for place in places:
            x = a
            for i, start in enumerate(place):
                x = _window(x, (i + 2,), start, kernel.stride[i], outside[i])
            yield x.flatten(2), g
        return
    margins = [(0, n - m) for n, m in zip(inside[:0:-1], outside[:0:-1], strict=True)]
    steps = [math.prod(inside[i + 1 :]) for i in range(len(inside))]
    length = 1 + sum((n - 1) * step for n, step in zip(outside, steps, strict=True))
    g = F.pad(g, [size for margin in margins for size in margin]).flatten(2)[:, :, :length]
    a = a.flatten(2)
    for place in places:
        start = sum(offset * step for offset, step in zip(place, steps, strict=True))
        yield a[:, :, start : start + length], g


def _window(tensor: Tensor, axes: Sequence[int], start: int, stride: int, size: int) -> Tensor:
    """Of some axes `size` entries, every `stride`-th from `start` on."""
    kept = slice(start, start + (size - 1) * stride + 1, stride)
    return tensor[tuple(kept if axis in axes else slice(None) for axis in range(tensor.ndim))]
