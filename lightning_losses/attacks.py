"""Adversarial inputs: the worst that a small change of the input can do to a model.

Both attacks look at the model in evaluation mode and put back the mode of every module. They leave nothing behind:
no gradient in the parameters, no update of running statistics, no draw from a random generator but where said.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lightning_losses.balls import BALLS
from lightning_losses.checks import check_choice, check_number, is_readable, message
from lightning_losses.modes import evaluating
from lightning_losses.numerics import at_least_float32

Box = tuple[float, float] | None


def fgsm(
    model: nn.Module,
    input: Tensor,
    target: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    epsilon: float,
    *,
    bounds: Box = (0.0, 1.0),
) -> Tensor:
    r"""The fast gradient sign method, :math:`x + \epsilon\, \mathrm{sign}\, \nabla_x L`, kept in the box.

    Goodfellow et al., "Explaining and harnessing adversarial examples", 2015. It is the worst case for a model that is
    linear in its input. A model trained against it alone learns to mask its gradient: measure robustness with `pgd`.

    Args:
        model: called with the input; wrapped in DDP or not.
        input: clean inputs :math:`x` [N, *], in the units that the model takes.
        target: truths, as the loss takes them.
        loss: from (output of the model, target) to a scalar or to values of the samples; it is made larger.
        epsilon: the largest change :math:`\epsilon \ge 0` of each number of the input, in its units.
        bounds: the least and the greatest value that an input may have; None for no limits.

    Returns:
        Adversarial inputs of the shape and dtype of `input`, detached.

    Raises:
        ValueError: `epsilon` is negative, or an input lies outside of the bounds.

    >>> import torch
    >>> model = torch.nn.Linear(2, 2)
    >>> x, y = torch.full((1, 2), 0.5), torch.tensor([0])
    >>> (fgsm(model, x, y, torch.nn.CrossEntropyLoss(), epsilon=0.1) - x).abs()
    tensor([[0.1000, 0.1000]])
    """
    return pgd(model, input, target, loss, epsilon, steps=1, step_size=epsilon, random_start=False, bounds=bounds)


def pgd(
    model: nn.Module,
    input: Tensor,
    target: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    epsilon: float,
    *,
    steps: int,
    step_size: float,
    norm: str = "linf",
    random_start: bool = True,
    generator: torch.Generator | None = None,
    bounds: Box = (0.0, 1.0),
) -> Tensor:
    r"""Projected gradient ascent on the loss, inside a ball around the input and inside the box.

    Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018. Common on images in [0, 1]:
    ``epsilon=8/255, steps=10, step_size=2/255``. `steps` times `step_size` should be more than `epsilon`.

    In the maximum norm the result is in the ball to the last bit, if `input` is float32 or float64, in the Euclidean
    norm up to rounding. Where the gradient is 0, as for a sure answer in float16, nothing moves.

    Args:
        model: called with the input; wrapped in DDP or not.
        input: clean inputs [N, *], in the units that the model takes.
        target: truths, as the loss takes them.
        loss: from (output of the model, target) to a scalar or to values of the samples; it is made larger.
        epsilon: the radius of the ball, at least 0, in the units of the input.
        steps: how many steps of ascent.
        step_size: the length of a step, in the norm of the ball.
        norm: ``"linf"``, the largest change of any number, or ``"l2"``, the Euclidean length of a sample's change.
        random_start: start anywhere in the ball, not at its centre.
        generator: what the start is drawn from; None for torch's own.
        bounds: the least and the greatest value that an input may have; None for no limits.

    Returns:
        Adversarial inputs of the shape and dtype of `input`, detached.

    Raises:
        ValueError: a number or the norm is out of its range, or an input lies outside of the bounds.

    >>> import torch
    >>> model = torch.nn.Linear(2, 2)
    >>> x, y = torch.full((1, 2), 0.5), torch.tensor([0])
    >>> attacked = pgd(model, x, y, torch.nn.CrossEntropyLoss(), 0.1, steps=5, step_size=0.04, norm="l2")
    >>> (attacked - x).norm()
    tensor(0.1000)
    """
    check_number("epsilon", epsilon, at_least=0)
    check_number("steps", steps, at_least=1)
    check_number("step_size", step_size, at_least=0)
    check_choice("norm", norm, BALLS)
    limits = bounds or (-math.inf, math.inf)
    _check_input(input, limits)
    with evaluating(model, loss), torch.inference_mode(False), torch.enable_grad():
        target = target.clone()  # like the input, it may have come from inference mode, and autograd saves it
        ball = BALLS[norm](at_least_float32(input.detach().clone()), epsilon)
        point = ball.draw(generator).clamp(*limits) if random_start else ball.centre
        for _ in range(steps):
            slope = _slope(model, point.to(input.dtype), target, loss)
            point = ball.project(point + step_size * ball.steepest(slope.to(point.dtype))).clamp(*limits)
    return point.to(input.dtype)


def _slope(model: nn.Module, point: Tensor, target: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The gradient of the loss in the input, of each sample as if it were alone."""
    leaf = point.detach().requires_grad_()
    network = model.module if isinstance(model, DistributedDataParallel) else model
    value = loss(network(leaf), target)
    total = value.sum() if value.dim() else value * len(leaf)  # 1/N of a gradient may vanish in float16
    return torch.autograd.grad(total, leaf)[0]


def _check_input(input: Tensor, limits: tuple[float, float]) -> None:
    if not input.is_floating_point():
        raise TypeError(message("input", "of a floating dtype", input.dtype))
    if is_readable(input):
        least, greatest = (limit.item() for limit in torch.aminmax(input))
        if not limits[0] <= least <= greatest <= limits[1]:  # a NaN is nowhere
            rule = f"inside of `bounds`, {limits[0]:g}..{limits[1]:g}"
            raise ValueError(message("input", rule, f"{least:g}..{greatest:g}"))
