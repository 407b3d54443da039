"""Classification: the likelihood of labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_losses.functional.gathering import per_class


def cross_entropy(
    input: Tensor, target: Tensor, label_smoothing: float = 0.0, class_weight: Tensor | None = None
) -> Tensor:
    r""":math:`-\sum_c w_c\, q_c \log p_c` with :math:`p = \operatorname{softmax}(x)`.

    :math:`q = (1-s)\,t + s/C`, where :math:`t` is the given distribution, or 1 at the given label and 0 elsewhere.

    Args:
        input: logits :math:`x` [N, C, *].
        target: labels in 0..C-1 [N, *] (int64), or distributions :math:`t` over the classes [N, C, *].
        label_smoothing: the share :math:`s` of the uniform distribution, in [0, 1).
        class_weight: :math:`w` [C], at least 0.

    Returns:
        Values [N, *], at least the entropy of :math:`q` where there are no class weights.

    >>> import torch
    >>> cross_entropy(torch.zeros(2, 10), torch.tensor([3, 7]))  # log 10
    tensor([2.3026, 2.3026])
    """
    weight = None if class_weight is None else class_weight.to(input.dtype)
    return F.cross_entropy(input, target, weight, reduction="none", label_smoothing=label_smoothing)


def cross_entropy_minimizer(
    input: Tensor, target: Tensor, label_smoothing: float = 0.0, class_weight: Tensor | None = None
) -> Tensor:
    r"""The logits at which `cross_entropy` is least: :math:`\log w_c q_c`, with -1e4 for minus infinity.

    Args:
        input: logits [N, C, *], of which only shape and dtype matter.
        target: as in `cross_entropy`.
        label_smoothing: as in `cross_entropy`.
        class_weight: as in `cross_entropy`.

    Returns:
        Logits [N, C, *].

    >>> import torch
    >>> cross_entropy_minimizer(torch.zeros(1, 2), torch.tensor([1]), label_smoothing=0.5).exp()
    tensor([[0.2500, 0.7500]])
    """
    if not target.is_floating_point():
        target = torch.zeros_like(input).scatter(1, target.unsqueeze(1), 1.0)
    smooth = (1 - label_smoothing) * target + label_smoothing / input.shape[1]
    if class_weight is not None:
        smooth = smooth * per_class(class_weight, input)
    return smooth.log().clamp(min=-1e4)


def binary_cross_entropy(input: Tensor, target: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    r""":math:`-w\,t \log \sigma(x) - (1-t) \log(1 - \sigma(x))`.

    Args:
        input: logits :math:`x`, any shape.
        target: probabilities or labels :math:`t` in [0, 1], the same shape.
        pos_weight: :math:`w`, broadcast to `input`.

    Returns:
        Values in :math:`[0, \infty)`, of the shape of `input`.

    >>> import torch
    >>> binary_cross_entropy(torch.zeros(2), torch.tensor([0.0, 1.0]))  # log 2
    tensor([0.6931, 0.6931])
    """
    weight = None if pos_weight is None else pos_weight.to(input.dtype)
    return F.binary_cross_entropy_with_logits(input, target.to(input.dtype), pos_weight=weight, reduction="none")
