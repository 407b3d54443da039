"""Segmentation: how much predicted and true regions overlap."""

import torch
from torch import Tensor

from lightning_losses.functional.gathering import at_label
from lightning_losses.numerics import safe_divide, widest


def class_overlap(
    probabilities: Tensor, labels: Tensor, weight: Tensor | None = None, at_truth: Tensor | None = None
) -> Tensor:
    r"""The three sums that overlap is measured by, for each image and class.

    .. math:: I_{nc} = \sum_{i: y_{ni}=c} w_{ni}\, p_{nci}, \qquad P_{nc} = \sum_i w_{ni}\, p_{nci}, \qquad
        T_{nc} = \sum_{i: y_{ni}=c} w_{ni}

    They are additive: over images for the overlap of a batch, over ranks for that of the global batch.

    Args:
        probabilities: :math:`p` [N, C, *].
        labels: :math:`y` in 0..C-1 [N, *] (int64).
        weight: :math:`w` [N, *]; None for 1 each.
        at_truth: the probabilities of the true classes, :math:`p_{n y_{ni} i}` [N, *], where they are known already.

    Returns:
        :math:`(I, P, T)` [3, N, C].

    >>> import torch
    >>> p, y = torch.tensor([[[0.7, 0.2], [0.3, 0.8]]]), torch.tensor([[0, 1]])
    >>> class_overlap(p, y).squeeze()
    tensor([[0.7000, 0.8000],
            [0.9000, 1.1000],
            [1.0000, 1.0000]])
    """
    weighted = probabilities if weight is None else probabilities * weight.unsqueeze(1)
    predicted = weighted.unsqueeze(-1).flatten(2).sum(2)
    if at_truth is None:  # looked up after the sum, so that its gradient comes first and the sum's is added in place
        at_truth = at_label(probabilities, labels)
    hits, pixels = (at_truth, torch.ones_like(at_truth)) if weight is None else (at_truth * weight, weight)
    classes = probabilities.shape[1]
    return torch.stack([_sum_by_label(hits, labels, classes), predicted, _sum_by_label(pixels, labels, classes)])


def _sum_by_label(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Sums [N, C] of values [N, *]; wide, because `scatter_add` adds one by one: 0.9 a million times is 3 % off."""
    zero = widest(values.new_zeros(len(values), classes))
    flat, index = widest(values).unsqueeze(-1).flatten(1), labels.unsqueeze(-1).flatten(1)
    return zero.scatter_add(1, index, flat).to(values.dtype)


def dice_distance(intersection: Tensor, predicted: Tensor, true: Tensor, smoothing: float = 0.0) -> Tensor:
    r""":math:`1 - \dfrac{2I + s}{P + T + s}`: 0 for a perfect overlap, 1 for none.

    Args:
        intersection: :math:`I`, any shape.
        predicted: :math:`P`, the same shape.
        true: :math:`T`, the same shape.
        smoothing: :math:`s \ge 0`.

    Returns:
        Values in [0, 1]; 1 where all three sums and the smoothing are 0.

    >>> import torch
    >>> dice_distance(torch.tensor([0.0, 2.0]), torch.tensor([2.0, 2.0]), torch.tensor([2.0, 2.0]))
    tensor([1., 0.])
    """
    return 1 - safe_divide(2 * intersection + smoothing, predicted + true + smoothing)


def generalized_dice_distance(
    intersection: Tensor, predicted: Tensor, true: Tensor, class_weight: Tensor, smoothing: float = 0.0
) -> Tensor:
    r""":math:`1 - \dfrac{2 \sum_c v_c I_c}{\sum_c v_c (P_c + T_c)}` with :math:`v_c = \dfrac{w_c}{(T_c + s)^2}`.

    Args:
        intersection: :math:`I` [*, C].
        predicted: :math:`P`, the same shape.
        true: :math:`T`, the same shape.
        class_weight: :math:`w`, the same shape; 0 for a class left out.
        smoothing: :math:`s \ge 0`, in pixels; above 0 if a class with a weight is nowhere true.

    Returns:
        Values [*, 1] in [0, 1]; 0 where no class has both a weight and a pixel.

    >>> import torch
    >>> i, p, t = torch.tensor([[1.0, 8.0], [1.0, 10.0], [2.0, 9.0]])
    >>> generalized_dice_distance(i, p, t, torch.ones(2))  # a miss of 1 in 2 weighs more than one of 1 in 9
    tensor([0.2915])
    """
    share = safe_divide(class_weight, (true + smoothing).square())
    all_pixels = predicted + true
    apart = (share * (all_pixels - 2 * intersection)).sum(-1, keepdim=True)
    return safe_divide(apart, (share * all_pixels).sum(-1, keepdim=True))
