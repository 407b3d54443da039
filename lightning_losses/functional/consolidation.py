"""Formulas that keep parameters near values that earlier tasks need."""

from torch import Tensor

from lightning_losses.checks import check_number


def anchored_square(input: Tensor, anchor: Tensor, importance: Tensor) -> Tensor:
    r"""What each parameter pays for its distance from an anchor, :math:`\frac12 F (\theta - \theta^*)^2`.

    Args:
        input: parameters :math:`\theta`, any shape.
        anchor: where they were, :math:`\theta^*`, of the same shape.
        importance: :math:`F \ge 0`, of the same shape: the second derivative by each parameter.

    Returns:
        Values >= 0, of the same shape.

    >>> import torch
    >>> anchored_square(torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([5.0]))
    tensor([10.])
    """
    distance = input - anchor
    return importance * distance.square() / 2


def path_integral(credit: Tensor, gradient: Tensor, step: Tensor) -> Tensor:
    r"""How much each parameter has lowered the loss so far, :math:`\omega - g \, \Delta\theta`.

    The running sum of synaptic intelligence (Zenke, Poole and Ganguli 2017, arXiv:1703.04200), from 0 at the start of a
    task. Update it after every optimizer step.

    Args:
        credit: :math:`\omega` before the step.
        gradient: :math:`g` of the task's loss alone that the step was taken with: unscaled, unclipped, without penalty.
        step: :math:`\Delta\theta`, by how much the optimizer has changed the parameters.

    Returns:
        :math:`\omega` after the step.

    >>> import torch
    >>> path_integral(torch.zeros(1), gradient=torch.tensor([2.0]), step=torch.tensor([-0.5]))
    tensor([1.])
    """
    return credit - gradient * step


def path_importance(credit: Tensor, change: Tensor, damping: float) -> Tensor:
    r"""The importance that a task's path gives to each parameter, :math:`\max(\omega, 0) / (\Delta^2 + \xi)`.

    Synaptic intelligence (Zenke, Poole and Ganguli 2017). Where noise has left a negative :math:`\omega`, the paper's
    quotient would push a parameter away from where it was, without limit: it counts as 0 here. The paper's penalty
    :math:`c \sum_i \Omega_i (\theta_i - \theta_i^*)^2`, with :math:`\Omega` summed over the tasks, is that of `EWC`
    with the weight :math:`2 c`.

    Args:
        credit: :math:`\omega`, the `path_integral` over the task.
        change: :math:`\Delta`, the parameters at the end of the task minus those at its start.
        damping: :math:`\xi > 0`, which bounds the importance of parameters that hardly moved.

    Returns:
        Values >= 0, of the same shape.

    Raises:
        ValueError: `damping` is not above 0.

    >>> import torch
    >>> path_importance(torch.tensor([2.0, -1.0]), change=torch.tensor([3.0, 0.1]), damping=1.0)
    tensor([0.2000, 0.0000])
    """
    check_number("damping", damping, above=0)
    return credit.clamp(min=0) / (change.square() + damping)
