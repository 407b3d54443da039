"""The vector space in which the parameters live: products, norms and random directions."""

import torch
from torch import Tensor

from lightning_losses.curvature.estimate import Direction, Objective, Parameters
from lightning_losses.numerics import at_least_float32, widest


def dots(a: Direction, b: Direction) -> dict[str, Tensor]:
    """The inner product of each pair of tensors, by name, 0-d in float64 (float32 on devices without it)."""
    return {name: _total(at_least_float32(tensor) * at_least_float32(b[name])) for name, tensor in a.items()}


def dot(a: Direction, b: Direction) -> Tensor:
    r"""The inner product :math:`\langle a, b\rangle = \sum_i a_i b_i` over all entries of all tensors of `a`.

    Returns:
        0-d, in float64 (float32 on devices without it), whatever the dtypes of the tensors.

    >>> ones = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    >>> dot(ones, ones)
    tensor(8., dtype=torch.float64)
    """
    return torch.stack(list(dots(a, b).values())).sum()


def norm(direction: Direction) -> Tensor:
    """The Euclidean norm over all entries of all tensors, 0-d in float64.

    >>> norm({"weight": torch.tensor([3.0]), "bias": torch.tensor([4.0])})
    tensor(5., dtype=torch.float64)
    """
    return dot(direction, direction).sqrt()


def multiply(a: Direction, b: Direction) -> dict[str, Tensor]:
    """The product entry by entry, in the dtypes of `a`."""
    return {name: tensor * b[name].detach().to(tensor.dtype) for name, tensor in a.items()}


def rademacher_like(parameters: Parameters, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Independent entries of -1 and 1 with equal probability, in the shapes, dtypes and devices of `parameters`.

    Args:
        parameters: tensors by name.
        generator: source of randomness, on any device; None for the global one of each tensor's device.

    >>> rademacher_like({"weight": torch.zeros(2)})["weight"].square()
    tensor([1., 1.])
    """
    return {
        name: torch.randint(2, p.shape, generator=generator, dtype=p.dtype, device=_device(p, generator))
        .mul_(2)
        .sub_(1)
        .to(p.device)
        for name, p in parameters.items()
    }


def normal_like(parameters: Parameters, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Independent standard normal entries, in the shapes, dtypes and devices of `parameters`.

    Args:
        parameters: tensors by name.
        generator: source of randomness, on any device; None for the global one of each tensor's device.

    >>> normal_like({"weight": torch.zeros(2, 3)})["weight"].shape
    torch.Size([2, 3])
    """
    return {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype, device=_device(p, generator)).to(p.device)
        for name, p in parameters.items()
    }


def flattened(direction: Direction) -> Tensor:
    """All entries one after the other, [P], in the widest dtype of the tensors and at least in float32.

    >>> flattened({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([3.0])})
    tensor([1., 2., 3.])
    """
    return torch.cat([at_least_float32(tensor.detach()).flatten() for tensor in direction.values()])


def unflattened(vector: Tensor, like: Parameters) -> dict[str, Tensor]:
    """The inverse of `flattened`: pieces of a vector [P] in the shapes and dtypes of `like`.

    >>> unflattened(torch.tensor([1.0, 2.0, 3.0]), like={"weight": torch.zeros(1, 2), "bias": torch.zeros(1)})
    {'weight': tensor([[1., 2.]]), 'bias': tensor([3.])}
    """
    pieces = torch.split(vector, [tensor.numel() for tensor in like.values()])
    return {
        name: piece.view_as(tensor).to(tensor.dtype) for (name, tensor), piece in zip(like.items(), pieces, strict=True)
    }


def moved(parameters: Parameters, *steps: tuple[Direction, float]) -> dict[str, Tensor]:
    """The parameters plus each direction times its step, as new tensors without a graph.

    >>> moved({"w": torch.ones(2)}, ({"w": torch.tensor([1.0, 2.0])}, 0.5))
    {'w': tensor([1.5000, 2.0000])}
    """
    return {
        name: sum((step * direction[name].detach() for direction, step in steps), start=p.detach())
        for name, p in parameters.items()
    }


def loss_at(objective: Objective, parameters: Parameters) -> Tensor:
    """The loss without a graph, 0-d in float64."""
    with torch.no_grad():
        return widest(objective(parameters).detach())


def size(parameters: Parameters) -> int:
    """The number of entries P."""
    return sum(tensor.numel() for tensor in parameters.values())


def _total(tensor: Tensor) -> Tensor:
    return tensor.sum(dtype=torch.float32 if tensor.device.type == "mps" else torch.float64)  # MPS has no float64


def _device(tensor: Tensor, generator: torch.Generator | None) -> torch.device:
    return tensor.device if generator is None else generator.device
