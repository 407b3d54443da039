"""How far a predicted region reaches beyond the boundary of the true one."""

import torch
from torch import Tensor


def boundary_distance(input: Tensor, target: Tensor) -> Tensor:
    r""":math:`\sum_c p_c \phi_c`, the mean signed distance to the boundaries of the classes a pixel is taken for.

    Args:
        input: logits [N, C, *] with :math:`p = \operatorname{softmax}(x)`.
        target: :math:`\phi` [N, C, *], the distance of each pixel to the boundary of class c: below 0 inside of the
            class, above 0 outside.

    Returns:
        Values [N, *] between the least and the greatest :math:`\phi_c`.

    >>> import torch
    >>> boundary_distance(torch.zeros(1, 2, 1), torch.tensor([[[-1.0], [3.0]]]))
    tensor([[1.]])
    """
    return (torch.softmax(input, 1) * target).sum(1)
