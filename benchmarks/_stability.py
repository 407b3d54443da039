"""Two trainings along which lambda_max is followed: full-batch gradient descent and the first steps of SGD."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from _resnet import Batch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy, mse_loss

from lightning_losses.curvature import (
    Direction,
    Eigenpair,
    HessianOperator,
    Objective,
    Parameters,
    largest_eigenvalue,
    normal_like,
)
from lightning_losses.curvature.directions import flattened, unflattened

STEPS, LOOK_EVERY, EXACT_EVERY = 10_000, 10, 50
SGD_LOOK_EVERY, SGD_LEARNING_RATE, CONVERGED = 10, 0.1, 30


class Follower:
    """lambda_max by a few products, from the vector of the last look or from a random one every time."""

    def __init__(self, products: int = 3, warm: bool = True) -> None:
        self.products, self.warm = products, warm
        self.last: Direction | None = None
        self.generator = torch.Generator().manual_seed(0)

    def look(self, objective: Objective, parameters: Parameters) -> Eigenpair:
        """The eigenvalue with its residual."""
        start = self.last or normal_like(parameters, self.generator)
        found = largest_eigenvalue(HessianOperator(objective, parameters).product, start, self.products)
        self.last = found.vector if self.warm else None
        return found


Followers = Mapping[str, Callable[[], Follower]]


class Look(NamedTuple):
    """One look at lambda_max, in units of 2 / lr, and what it is exactly, or NaN."""

    step: int
    value: float
    residual: float
    exact: float

    @property
    def error(self) -> float:
        """Relative."""
        return abs(self.value / self.exact - 1)


def gradient_descent(degree: int, learning_rate: float, seed: int) -> list[Look]:
    """Full-batch gradient descent on half the mean squared error, in float64."""
    network, inputs = regression(seed), torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    targets = torch.cos(degree * torch.arccos(inputs))
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def objective(at: Parameters) -> Tensor:
        return mse_loss(functional_call(network, dict(at), (inputs,)), targets) / 2

    follower, looks, gradient = Follower(), list[Look](), grad(objective)
    for step in range(STEPS + 1):
        if step % LOOK_EVERY == 0:
            found = follower.look(objective, parameters)
            exact = exact_eigenvalue(objective, parameters) if step % EXACT_EVERY == 0 else torch.nan
            looks.append(Look(step, *(learning_rate / 2 * x for x in (found.value, found.residual, exact))))
        slope = gradient(parameters)
        parameters = {name: p - learning_rate * slope[name] for name, p in parameters.items()}
    return looks


def regression(seed: int) -> nn.Module:
    """The network of Cohen et al. for this problem, as they initialise it."""
    torch.manual_seed(seed)
    first, last = nn.Linear(1, 100), nn.Linear(100, 1, bias=False)
    network = nn.Sequential(first, nn.Tanh(), last).double()
    nn.init.xavier_normal_(first.weight, gain=1.9)
    nn.init.zeros_(first.bias)
    nn.init.xavier_normal_(last.weight)
    return network


def exact_eigenvalue(objective: Objective, parameters: Parameters) -> float:
    """The largest eigenvalue of the whole Hessian."""
    matrix = torch.func.hessian(lambda vector: objective(unflattened(vector, parameters)))(flattened(parameters))
    return float(torch.linalg.eigvalsh(matrix)[-1])


def sgd(batches: Sequence[Batch], make: Followers, seed: int, fresh: bool) -> dict[str, list[Look]]:
    """SGD on a small convolutional network, measured on each look's own batch or always on the first."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 6**2, 10)),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=SGD_LEARNING_RATE)
    followers = {name: of_kind() for name, of_kind in make.items()}
    looks: dict[str, list[Look]] = {name: [] for name in followers}
    for step, (images, labels) in enumerate(batches):
        if step % SGD_LOOK_EVERY == 0:
            batch = (images, labels) if fresh else batches[0]
            for name, look in _looks(step, network, batch, followers).items():
                looks[name].append(look)
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()
    return looks


def _looks(step: int, network: nn.Module, batch: Batch, followers: Mapping[str, Follower]) -> dict[str, Look]:
    images, labels = batch
    parameters, scale = dict(network.named_parameters()), SGD_LEARNING_RATE / 2

    def objective(at: Parameters) -> Tensor:
        return cross_entropy(functional_call(network, dict(at), (images,)), labels)

    converged = Follower(CONVERGED).look(objective, parameters)
    looks = {name: follower.look(objective, parameters) for name, follower in followers.items()}
    return {
        name: Look(step, scale * look.value, scale * look.residual, scale * converged.value)
        for name, look in looks.items()
    }
