"""Distillation: a student learns what a teacher thinks of every class."""

import torch
from torch import Tensor


def distillation(input: Tensor, target: Tensor, temperature: float = 4.0) -> Tensor:
    r""":math:`T^2\, \mathrm{KL}(q \,\|\, p)` with :math:`p = \operatorname{softmax}(x / T)`, :math:`q` the teacher's.

    Args:
        input: logits :math:`x` of the student [N, C, *].
        target: logits of the teacher [N, C, *].
        temperature: :math:`T > 0`.

    Returns:
        Values in :math:`[0, \infty)` [N, *].

    >>> import torch
    >>> distillation(torch.zeros(1, 2), torch.tensor([[-200.0, 200.0]]), temperature=2.0)  # 4 log 2
    tensor([2.7726])
    """
    student, teacher = (torch.log_softmax(logits / temperature, 1) for logits in (input, target))
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(1)
