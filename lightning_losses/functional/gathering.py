"""Looking things up by class, where others make a one-hot tensor."""

from torch import Tensor


def at_label(input: Tensor, labels: Tensor) -> Tensor:
    """The entry of `input` [N, C, *] at the class of each of the `labels` [N, *].

    >>> import torch
    >>> at_label(torch.tensor([[0.2, 0.8], [0.9, 0.1]]), torch.tensor([1, 0]))
    tensor([0.8000, 0.9000])
    """
    return input.gather(1, labels.unsqueeze(1)).squeeze(1)


def label_weight(target: Tensor, class_weight: Tensor) -> Tensor:
    r"""The weight of each element's class, :math:`w_y`, or :math:`\sum_c t_c w_c` for distributions over classes.

    Args:
        target: labels [N, *] (int64) or distributions [N, C, *].
        class_weight: :math:`w` [C].

    Returns:
        Weights [N, *].

    >>> import torch
    >>> label_weight(torch.tensor([0, 1, 1]), torch.tensor([1.0, 5.0]))
    tensor([1., 5., 5.])
    """
    if target.is_floating_point():
        return (target * per_class(class_weight, target)).sum(1)
    return class_weight[target]


def per_class(vector: Tensor, like: Tensor) -> Tensor:
    """`vector` [C] in the dtype of `like` [N, C, *] and broadcast along its class axis."""
    return vector.to(like.dtype).reshape(-1, *[1] * (like.dim() - 2))
