"""The mean of the ranks' losses as one objective, at the same parameters and along the same directions on all of them.

A loss may ask the other ranks (Dice of the whole batch, a mean over all masks): a search that takes a step more on one
rank than on another would ask when nobody answers, and products with other vectors would mix.
"""

import torch
from torch import Tensor

from lightning_losses.curvature.directions import flattened, unflattened
from lightning_losses.curvature.estimate import Direction, Objective, Parameters
from lightning_losses.curvature.products import Product, leaves
from lightning_losses.distributed import rank, sum_over_ranks, world_size
from lightning_losses.numerics import widest


def mean_loss(objective: Objective) -> Objective:
    """The mean of the ranks' losses, NaN where one is not finite, without a graph; it sends a number a call."""
    return lambda parameters: sum_over_ranks(widest(or_nan(objective)(parameters))) / world_size()


def or_nan(objective: Objective) -> Objective:
    """Far from where training has led a loss may not be finite, and a LossModule says so: this one is NaN then."""

    def loss(parameters: Parameters) -> Tensor:
        try:
            return objective(parameters)
        except FloatingPointError:
            return nan_like(parameters)

    return loss


def nan_like(parameters: Parameters) -> Tensor:
    """NaN, 0-d, where the parameters are."""
    return torch.tensor(torch.nan, device=next(iter(parameters.values())).device)


def finite_on_all(objective: Objective) -> Objective:
    """The same, but where the loss of one rank is not finite, all ranks raise: none waits for one that has left.

    Raises:
        FloatingPointError: in a call, on all ranks.
    """

    def loss(parameters: Parameters) -> Tensor:
        failure = FloatingPointError("The loss of a rank is not finite.")
        try:
            value = objective(parameters)
        except FloatingPointError as error:
            value, failure = nan_like(parameters), error
        if not sum_over_ranks(widest(value.detach())).isfinite():
            raise failure
        return value

    return loss


def mean_gradient(objective: Objective, parameters: Parameters) -> dict[str, Tensor]:
    """The gradient of the mean of the ranks' losses, by name: one message as large as the parameters.

    Raises:
        FloatingPointError: on all ranks, the loss of one is not finite.
    """
    at = leaves(parameters)
    slopes = torch.autograd.grad(finite_on_all(objective)(at), list(at.values()), materialize_grads=True)
    return mean(dict(zip(at, slopes, strict=True)))


def mean_product(product: Product) -> Product:
    """The mean of the ranks' matrices; each product is a message as large as the parameters."""
    return lambda direction: mean(product(direction))


def mean(direction: Direction) -> dict[str, Tensor]:
    """The mean of the ranks' vectors, in one message."""
    if world_size() == 1:
        return dict(direction)
    return unflattened(sum_over_ranks(flattened(direction)) / world_size(), direction)


def own_generator(shared: torch.Generator) -> torch.Generator:
    """One of other numbers on each rank, from one that is the same on all: for probes of a rank's own samples."""
    return torch.Generator(shared.device).manual_seed(hash((shared.initial_seed(), rank())) % 2**31)
