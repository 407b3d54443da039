"""The Jaccard index, made continuous by Lovász's extension of set functions."""

import torch
from torch import Tensor

from lightning_losses.numerics import safe_divide, widest


def lovasz_extension(errors: Tensor, true: Tensor, weight: Tensor | None = None) -> Tensor:
    r""":math:`\sum_k e_{(k)} (J_k - J_{k-1})`, with the errors in falling order: the Jaccard loss if each is 0 or 1.

    :math:`J_k` is the Jaccard loss 1 - IoU of being wrong at the :math:`k` worst pixels and nowhere else, that is
    :math:`W_k / (T + F_k)` with the weight :math:`W_k` of these pixels, the weight :math:`F_k` of those of them that
    are not true, and the weight :math:`T` of all true ones.

    Args:
        errors: :math:`e \ge 0` [*, P].
        true: boolean, which pixels belong to the region [*, P].
        weight: of the pixels, broadcast to [*, P]; None for 1 each.

    Returns:
        Values [*], convex and piecewise linear in the errors: between two changes of order the second derivative is 0.

    >>> import torch
    >>> true = torch.tensor([True, True, False])
    >>> lovasz_extension(torch.tensor([0.0, 1.0, 1.0]), true)  # one missed, one too many: 1 - 1/3
    tensor(0.6667)
    """
    weight = torch.ones_like(errors) if weight is None else weight.to(errors.dtype).expand_as(errors)
    order = errors.detach().argsort(-1, descending=True)
    wrong = widest(weight).gather(-1, order)
    of_true = wrong.masked_fill(~true.gather(-1, order), 0.0)
    jaccard = safe_divide(wrong.cumsum(-1), of_true.sum(-1, keepdim=True) + (wrong - of_true).cumsum(-1))
    steps = jaccard.diff(dim=-1, prepend=torch.zeros_like(jaccard[..., :1]))
    return (errors * torch.zeros_like(errors).scatter(-1, order, steps.to(errors.dtype))).sum(-1)
