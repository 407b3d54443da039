"""The sums of Dice with cross-entropy, with nothing kept for the backward pass but their inputs."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lightning_losses.functional.fused import Once, blocks
from lightning_losses.functional.gathering import at_label
from lightning_losses.functional.segmentation import class_overlap
from lightning_losses.numerics import widest


def fused_overlap_and_likelihood(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    ignore_index: int | None = None,
) -> tuple[Tensor, Tensor]:
    r"""What Dice with cross-entropy is made of, saving nothing but its inputs.

    Args:
        input: logits [N, C, *] with :math:`p = \operatorname{softmax}(x)`.
        target: labels :math:`y` in 0..C-1 [N, *], of any integer dtype.
        weight: of the pixels, :math:`w` [N, *]; None for 1 each.
        class_weight: :math:`v` [C]; None for 1 each.
        ignore_index: the label of pixels that do not count.

    Returns:
        `class_overlap` [3, N, C] and :math:`\sum_i w_i v_{y_i} \log p_{y_i}` [N].

    >>> import torch
    >>> sums, likelihood = fused_overlap_and_likelihood(torch.zeros(1, 2, 3), torch.tensor([[0, 1, 1]]))
    >>> sums.squeeze()
    tensor([[0.5000, 1.0000],
            [1.5000, 1.5000],
            [1.0000, 2.0000]])
    >>> likelihood / torch.tensor(0.5).log()
    tensor([3.])
    """
    sums, likelihood = _OverlapAndLikelihood.apply(input, target, weight, class_weight, ignore_index)
    return sums, likelihood


class _OverlapAndLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        target: Tensor,
        weight: Tensor | None,
        class_weight: Tensor | None,
        ignore_index: int | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(input, target, weight)
        ctx.class_weight, ctx.ignore_index = class_weight, ignore_index
        sums = widest(input.new_zeros(3, *input.shape[:2]))
        likelihood = widest(input.new_zeros(len(input)))
        for x, y, w in _pixels(input, target, weight):
            labels, w = _labels_and_weights(x, y, w, ignore_index)
            log_p = torch.log_softmax(x, 1)
            log_at_truth = at_label(log_p, labels)
            sums += class_overlap(log_p.exp_(), labels, w, log_at_truth.exp())
            of_label = None if class_weight is None else class_weight[labels]
            likelihood += _times(_times(log_at_truth, w), of_label).sum(1)
        return sums.to(input.dtype), likelihood.to(input.dtype)

    @staticmethod
    def backward(ctx: Any, of_sums: Tensor, of_likelihood: Tensor) -> tuple[Tensor, None, None, None, None]:
        input, target, weight = ctx.saved_tensors
        slopes = _overlap_slopes(input, target, weight, ctx.class_weight, ctx.ignore_index, of_sums, of_likelihood)
        return Once.apply(slopes, input, of_sums, of_likelihood), None, None, None, None


@torch.no_grad()
def _overlap_slopes(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    ignore_index: int | None,
    of_sums: Tensor,
    of_likelihood: Tensor,
) -> Tensor:
    r""":math:`w_i (p_c (P'_c - m_i) + [y_i = c] t_i)` with :math:`t = p_y I'_y + v_y l'`, :math:`m = t + p \cdot P'`.

    A prime marks the derivative of the loss by that sum.
    """
    slopes = torch.empty_like(input, memory_format=torch.contiguous_format)
    of_overlap, of_predicted, _ = of_sums  # what is true does not depend on the logits
    for x, y, w, of_block in _pixels(input, target, weight, slopes):
        labels, w = _labels_and_weights(x, y, w, ignore_index)
        p = torch.softmax(x, 1)
        of_label = None if class_weight is None else class_weight[labels]
        at_truth = at_label(p, labels) * of_overlap.gather(1, labels) + _times(of_likelihood.unsqueeze(1), of_label)
        mean = (p * of_predicted.unsqueeze(2)).sum(1) + at_truth
        torch.sub(of_predicted.unsqueeze(2), mean.unsqueeze(1), out=of_block).mul_(p)
        of_block.scatter_add_(1, labels.unsqueeze(1), at_truth.unsqueeze(1))
        if w is not None:
            of_block.mul_(w.unsqueeze(1))
    return slopes


def _labels_and_weights(
    x: Tensor, y: Tensor, w: Tensor | None, ignore_index: int | None
) -> tuple[Tensor, Tensor | None]:
    """int64 labels and the weights of the pixels, both 0 where ignored."""
    labels = y.long()
    if ignore_index is None:
        return labels, w
    ignored = labels == ignore_index
    weight = x.new_ones(y.shape) if w is None else w
    return labels.masked_fill(ignored, 0), weight.masked_fill(ignored, 0.0)


def _times(values: Tensor, weight: Tensor | None) -> Tensor:
    return values if weight is None else values * weight


def _pixels(input: Tensor, target: Tensor, weight: Tensor | None, *outputs: Tensor) -> Iterator[tuple[Any, ...]]:
    """Blocks [N, C, pixels] of `input`, [N, pixels] of `target` and `weight` and [N, C, pixels] of the `outputs`."""
    x, *out = (tensor.unsqueeze(-1).flatten(2) for tensor in (input, *outputs))
    y, w = (None if tensor is None else tensor.unsqueeze(-1).flatten(1) for tensor in (target, weight))
    return blocks(-1, 256, x, y, w, *out)
