"""Products of the Hessian and of the Gauss-Newton matrix with a vector, by double backward."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lightning_losses.checks import message
from lightning_losses.curvature.estimate import Direction, Objective, Parameters
from lightning_losses.curvature.twice import explained

Product = Callable[[Direction], Direction]
"""A symmetric matrix in the space of the parameters, as what it makes of a vector."""

Outputs = Callable[[Parameters], Tensor]
"""What a network predicts for one fixed batch, of any shape, as a function of the parameters."""


class HessianOperator:
    r"""The Hessian of a loss as an operator: products with many vectors from one graph of the gradient.

    .. math::
        Hv = \nabla_\theta \langle \nabla_\theta L(\theta), v\rangle

    with L the loss, :math:`\theta` the parameters and v a vector (Pearlmutter 1994, "Fast exact multiplication by the
    Hessian"). The gradient's graph is built once and lives as long as the operator, at about the memory of three
    gradients. Leaves are detached copies that share memory with the parameters: neither `.grad` nor hooks nor the
    training's graph are touched, and changing the parameters in place invalidates the operator.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: where the Hessian is taken. Those that the loss does not reach count as zeros in every product.

    Attributes:
        loss: its value, 0-d.
        gradient: its gradient, by name.

    Raises:
        ValueError: the loss is not 0-d or has no graph to any of the parameters.
        RuntimeError: an operation can be differentiated only once; see `differentiable_twice`.

    >>> hessian = HessianOperator(lambda p: (p["w"] ** 3).sum(), {"w": torch.tensor([1.0, 2.0])})
    >>> hessian.gradient["w"], hessian.product({"w": torch.ones(2)})["w"]
    (tensor([ 3., 12.]), tensor([ 6., 12.]))
    """

    def __init__(self, objective: Objective, parameters: Parameters) -> None:
        self._leaves = leaves(parameters)
        with recording(), explained():
            loss = checked_loss(objective(self._leaves))
            self._gradient = _gradient(loss, self._leaves, create_graph=True)
        self.loss = loss.detach()
        self.gradient: Direction = {name: g.detach() for name, g in self._gradient.items()}

    def product(self, direction: Direction) -> dict[str, Tensor]:
        """Hv of a vector v, by name, detached, in the shapes and dtypes of the parameters."""
        curved = [name for name, g in self._gradient.items() if g.requires_grad]
        if not curved:
            return {name: torch.zeros_like(leaf) for name, leaf in self._leaves.items()}
        with recording(), explained():
            products = torch.autograd.grad(
                [self._gradient[name] for name in curved],
                list(self._leaves.values()),
                [direction[name] for name in curved],
                retain_graph=True,
                materialize_grads=True,
            )
        return dict(zip(self._leaves, products, strict=True))


def hessian_product(objective: Objective, parameters: Parameters, direction: Direction) -> dict[str, Tensor]:
    """The Hessian times one vector; `HessianOperator` is cheaper from the second vector on.

    Args:
        objective: the loss on one fixed batch, 0-d.
        parameters: where the Hessian is taken.
        direction: the vector, of the same names, shapes and dtypes.

    Returns:
        Hv by name, detached; zeros for parameters that the loss does not reach.

    Raises:
        ValueError: the loss is not 0-d or has no graph to any of the parameters.
        RuntimeError: an operation can be differentiated only once; see `differentiable_twice`.

    >>> hessian_product(lambda p: (p["w"] ** 3).sum(), {"w": torch.tensor([1.0, 2.0])}, {"w": torch.ones(2)})
    {'w': tensor([ 6., 12.])}
    """
    return HessianOperator(objective, parameters).product(direction)


def gauss_newton_product(
    outputs: Outputs, loss: Callable[[Tensor], Tensor], parameters: Parameters, direction: Direction
) -> dict[str, Tensor]:
    r"""The generalised Gauss-Newton matrix times a vector (Schraudolph 2002).

    .. math::
        Gv = J^\top H_L J v

    with J the Jacobian of the outputs with respect to the parameters and :math:`H_L` the Hessian of the loss with
    respect to the outputs. Where the loss is convex in the outputs G is positive semi-definite. Jv is taken in forward
    mode: on a ResNet-18 the product costs 2.0 gradients, by backward passes alone it would 3.5.

    Args:
        outputs: the network's outputs on one fixed batch as a function of the parameters.
        loss: the loss as a function of the outputs, 0-d.
        parameters: where the matrix is taken.
        direction: the vector v, of the same names, shapes and dtypes.

    Returns:
        Gv by name, detached; zeros for parameters that the outputs do not depend on.

    Raises:
        ValueError: the loss is not 0-d or does not depend on the parameters.
        RuntimeError: an operation can be differentiated only once; see `differentiable_twice`.

    >>> features = torch.tensor([[1.0], [2.0]])
    >>> gauss_newton_product(
    ...     lambda p: features @ p["w"], lambda z: 0.5 * z.square().sum(), {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    ... )
    {'w': tensor([5.])}
    """
    at = leaves(parameters)
    with recording(), explained():
        pushed = {"outputs": jacobian_product(outputs, parameters, direction)}
        predicted = outputs(at)
        if not predicted.requires_grad:
            raise ValueError(message("outputs", "a function of the parameters, with a graph to them", "a constant"))
        curved = hessian_product(lambda p: loss(p["outputs"]), {"outputs": predicted}, pushed)
        return _gradient(predicted, at, curved["outputs"])


def jacobian_product(outputs: Outputs, parameters: Parameters, direction: Direction) -> Tensor:
    r"""The derivative Jv of the outputs along a vector, detached, in their shape.

    In forward mode, and by two backward passes where an operation has no derivative in forward mode (LSTM, cdist):
    :math:`J^\top u` is linear in u, and the transpose of its slope is J.

    >>> jacobian_product(lambda p: p["w"] ** 2, {"w": torch.tensor([1.0, 2.0])}, {"w": torch.ones(2)})
    tensor([2., 4.])
    """
    try:
        with torch.no_grad():
            along = {name: direction[name] for name in parameters}
            derivative: Tensor = torch.func.jvp(outputs, (dict(parameters),), (along,))[1]
            return derivative
    except NotImplementedError:
        return _transposed_twice(outputs, parameters, direction)


def _transposed_twice(outputs: Outputs, parameters: Parameters, direction: Direction) -> Tensor:
    at = leaves(parameters)
    with recording(), explained():
        predicted = outputs(at)
        cotangent = torch.zeros_like(predicted, requires_grad=True)
        pulled = _gradient(predicted, at, cotangent, create_graph=True)
        reached = [name for name, g in pulled.items() if g.requires_grad]
        return torch.autograd.grad(
            [pulled[name] for name in reached], cotangent, [direction[name] for name in reached]
        )[0]


def check_deterministic(objective: Objective, parameters: Parameters) -> None:
    """Check that two evaluations at the same parameters give the same loss, up to rounding.

    Raises:
        ValueError: they do not; the message names the usual causes.

    >>> check_deterministic(lambda p: p["w"].sum(), {"w": torch.ones(2)})
    """
    with torch.no_grad():
        first, second = objective(parameters), objective(parameters)
    rounding = 100 * torch.finfo(first.dtype).eps
    if not torch.allclose(first, second, rtol=rounding, atol=0.0, equal_nan=True):
        rule = (
            "the same function at every call (no dropout, no random augmentation, no BatchNorm in train mode or other "
            "layer that updates its state, the same batch)"
        )
        raise ValueError(message("objective", rule, f"{float(first):.8g}, then {float(second):.8g}"))


@contextmanager
def recording() -> Iterator[None]:
    """Autograd records, also inside `torch.no_grad` and `torch.inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def leaves(parameters: Parameters) -> dict[str, Tensor]:
    """The parameters as leaves of a new graph, sharing their memory but neither their hooks nor their `.grad`."""
    return {name: p.detach().requires_grad_() for name, p in parameters.items()}


def checked_loss(loss: Tensor) -> Tensor:
    """Return `loss` if it is 0-d and has a graph."""
    if loss.ndim:
        raise ValueError(message("objective", "a function that returns a 0-d tensor", tuple(loss.shape)))
    if not loss.requires_grad:
        rule = "a loss that depends on the parameters it is given, with a graph to them"
        raise ValueError(message("objective", rule, "a constant"))
    return loss


def _gradient(
    of: Tensor, at: dict[str, Tensor], cotangent: Tensor | None = None, create_graph: bool = False
) -> dict[str, Tensor]:
    gradient = torch.autograd.grad(of, list(at.values()), cotangent, create_graph=create_graph, materialize_grads=True)
    return dict(zip(at, gradient, strict=True))
