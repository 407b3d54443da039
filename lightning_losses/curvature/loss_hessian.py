"""The Hessian of a loss with respect to a network's outputs, element by element, in factors."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_losses.curvature.loss_calls import LossCall, NoLikelihoodError
from lightning_losses.numerics import at_least_float32

LARGEST_BLOCK = 128
"""Outputs of an element beyond which its block is not made."""


class Factor(ABC):
    r"""S of one sign, with :math:`H_z = \pm S S^\top`, block diagonal over the elements.

    Args:
        sign: 1 or -1; a loss that is not convex in the outputs has both.
        axis: along which the D outputs of an element lie; None if every output is an element of its own, D = 1.
        shape: of the outputs.
        elements: their number.
    """

    def __init__(self, sign: float, axis: int | None, shape: torch.Size) -> None:
        self.sign = sign
        self.axis = axis
        self.shape = shape
        self.size = 1 if axis is None else shape[axis]
        self.elements = shape.numel() // max(self.size, 1)

    @abstractmethod
    def times(self, vectors: Tensor) -> Tensor:
        """S times a vector for each element, [elements, D] -> [elements, D]."""

    def probe(self, generator: torch.Generator | None = None) -> Tensor:
        r"""A random cotangent c at the outputs with :math:`\mathbb E\,c c^\top = S S^\top`: S times random signs."""
        like = self.like
        device = like.device if generator is None else generator.device
        signs = torch.randint(2, (self.elements, self.size), generator=generator, device=device)
        return self.at_outputs(self.times((2 * signs - 1).to(like)))

    def columns(self, rows: int, apart: bool) -> Iterator[Tensor]:
        """Cotangents whose outer products, block by block, sum to S S^T exactly.

        Args:
            rows: number of blocks of elements; a cotangent holds one column of one element of each.
            apart: one block at a time.
        """
        places = self.elements // rows
        for row in range(rows) if apart else (slice(None),):
            for place in range(places):
                for index in range(self.size):
                    vectors = self.like.new_zeros(rows, places, self.size)
                    vectors[row, place, index] = 1.0
                    yield self.at_outputs(self.times(vectors.view(-1, self.size)))

    def at_outputs(self, vectors: Tensor) -> Tensor:
        """[elements, D] in the shape of the outputs."""
        if self.axis is None:
            return vectors.reshape(self.shape)
        rest = [size for i, size in enumerate(self.shape) if i != self.axis]
        return vectors.reshape(*rest, -1).movedim(-1, self.axis)

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """A tensor of the right dtype on the right device."""


class SoftmaxFactor(Factor):
    r""":math:`S = \sqrt w\,(\operatorname{diag}\sqrt p - p \sqrt p^\top)`, a square root of
    :math:`w\,(\operatorname{diag}(p) - p p^\top)`; no block is ever made.

    Args:
        probabilities: p, [elements, D].
        weights: w >= 0, [elements].
    """  # noqa: D205

    def __init__(self, sign: float, axis: int, shape: torch.Size, probabilities: Tensor, weights: Tensor) -> None:
        super().__init__(sign, axis, shape)
        self.probabilities = probabilities
        self.weights = weights

    def times(self, vectors: Tensor) -> Tensor:
        """S times a vector for each element."""
        scaled = self.probabilities.sqrt() * vectors
        return self.weights.sqrt().unsqueeze(1) * (scaled - self.probabilities * scaled.sum(1, keepdim=True))

    @property
    def like(self) -> Tensor:
        """The probabilities."""
        return self.probabilities


class BlockFactor(Factor):
    """S of every element as a matrix.

    Args:
        blocks: [elements, D, D].
    """

    def __init__(self, sign: float, axis: int | None, shape: torch.Size, blocks: Tensor) -> None:
        super().__init__(sign, axis, shape)
        self.blocks = blocks

    def times(self, vectors: Tensor) -> Tensor:
        """S times a vector for each element."""
        return (self.blocks @ vectors.unsqueeze(2)).squeeze(2)

    @property
    def like(self) -> Tensor:
        """The blocks."""
        return self.blocks


def factors(call: LossCall, slope: Tensor) -> list[Factor]:
    r"""The Hessian of a recorded loss with respect to its outputs, :math:`H_z = S S^\top - N N^\top`.

    Element e adds :math:`k_e\, \nabla^2 \ell_e`, with :math:`\ell_e` its value and :math:`k_e` what the total takes of
    it. Of the softmax cross-entropy :math:`-\sum_c a_c \log p_c` this is :math:`k_e \sum_c a_c\,
    (\operatorname{diag}(p) - p p^\top)`. Every other loss is differentiated twice in its outputs, which costs next to
    nothing beside the network, and its blocks are diagonalised: :math:`S = U \sqrt{\Lambda_+}`,
    :math:`N = U \sqrt{\Lambda_-}`.

    Args:
        call: the call.
        slope: derivative of the total by its result.

    Returns:
        One or two factors, in float32 or wider; none if the loss is linear in the outputs.

    Raises:
        NoLikelihoodError: an element has more than 128 outputs and the loss is no cross-entropy.
    """
    z = at_least_float32(call.outputs.detach())
    share = slope if call.share is None else slope * call.share
    if call.name in ("cross_entropy", "CrossEntropy"):
        return _softmax_factors(call, z, torch.as_tensor(share).to(z))
    with torch.enable_grad():
        leaf = z.requires_grad_()
        values = call.values(leaf)
        axis = _axis(call.name, leaf, values)
        blocks = _second_derivatives(values, leaf, axis)
    return _block_factors(blocks * torch.as_tensor(share).to(blocks).expand_as(values).reshape(-1, 1, 1), axis, z.shape)


def _softmax_factors(call: LossCall, z: Tensor, share: Tensor) -> list[Factor]:
    """At equal logits the loss is log C times the sum of its a_c, which gives that sum whatever the targets are."""
    axis = 1 if z.ndim > 1 else 0
    if z.shape[axis] < 2:  # a single class is certain
        return []
    probabilities = z.softmax(axis).movedim(axis, -1).reshape(-1, z.shape[axis])
    sums = call.values(torch.zeros_like(z)) / math.log(z.shape[axis])
    weights = (share * sums).reshape(-1)
    parts = [(sign, (sign * weights).clamp_min(0)) for sign in (1.0, -1.0)]
    return [SoftmaxFactor(s, axis, z.shape, probabilities, part) for s, part in parts if bool(part.any())]


def _axis(name: str, outputs: Tensor, values: Tensor) -> int | None:
    if values.shape == outputs.shape:
        return None
    for axis in (1, outputs.ndim - 1, 0):
        if axis < outputs.ndim and values.shape == outputs.shape[:axis] + outputs.shape[axis + 1 :]:
            if outputs.shape[axis] <= LARGEST_BLOCK:
                return axis
            raise NoLikelihoodError(f"{name} has {outputs.shape[axis]} outputs an element, more than {LARGEST_BLOCK}.")
    raise NoLikelihoodError(f"{name} makes values of shape {tuple(values.shape)} of {tuple(outputs.shape)} outputs.")


def _second_derivatives(values: Tensor, leaf: Tensor, axis: int | None) -> Tensor:
    """[elements, D, D]: an element's block, all elements at once, since none depends on the outputs of another."""
    (slopes,) = torch.autograd.grad(values.sum(), leaf, create_graph=True)
    if not slopes.requires_grad:
        size = 1 if axis is None else leaf.shape[axis]
        return leaf.new_zeros(values.numel(), size, size)
    if axis is None:
        return torch.autograd.grad(slopes.sum(), leaf)[0].reshape(-1, 1, 1)
    rows = slopes.movedim(axis, -1).reshape(values.numel(), -1)
    blocks = [
        torch.autograd.grad(rows[:, i].sum(), leaf, retain_graph=True)[0].movedim(axis, -1).reshape(rows.shape)
        for i in range(rows.shape[1])
    ]
    return torch.stack(blocks, 1)


def _block_factors(blocks: Tensor, axis: int | None, shape: torch.Size) -> list[Factor]:
    if blocks.shape[-1] == 1:
        values, vectors = blocks[..., 0], torch.ones_like(blocks)
    else:
        values, vectors = torch.linalg.eigh((blocks + blocks.mT) / 2)
    noise = 10 * torch.finfo(values.dtype).eps * values.abs().amax(-1, keepdim=True)
    found: list[Factor] = []
    for sign in (1.0, -1.0):
        part = (sign * values).where(sign * values > noise, 0.0)
        if bool(part.any()):
            found.append(BlockFactor(sign, axis, shape, vectors * part.sqrt().unsqueeze(-2)))
    return found
