"""Losses with a known Hessian: by formula for regressions, by brute force for small networks. All in float64."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import hessian

from lightning_losses.curvature.directions import unflattened
from lightning_losses.curvature.estimate import Objective, Parameters

SAMPLES, FEATURES, CLASSES = 20, 4, 3


@dataclass(frozen=True)
class Problem:
    """outputs -> loss on one batch, where to look, and the Hessian and the Gauss-Newton matrix there, [P, P]."""

    id: str
    outputs: Callable[[Parameters], Tensor]
    loss: Callable[[Tensor], Tensor]
    parameters: dict[str, Tensor]
    hessian: Tensor
    gauss_newton: Tensor

    def objective(self, parameters: Parameters) -> Tensor:
        return self.loss(self.outputs(parameters))


def _data() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    y = torch.randn(SAMPLES, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    return x, y, labels


def _weights(*shape: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(8)
    return {"w": torch.randn(*shape, generator=generator, dtype=torch.float64)}


def linear() -> Problem:
    """mean (x'w - y)^2: H = 2/N X'X."""
    x, y, _ = _data()
    exact = 2 / SAMPLES * x.T @ x
    return Problem("linear", lambda p: x @ p["w"], lambda z: (z - y).square().mean(), _weights(FEATURES), exact, exact)


def logistic() -> Problem:
    """mean binary cross-entropy: H = 1/N sum p(1-p) x x'."""
    x, y, _ = _data()
    parameters = _weights(FEATURES)
    chance = torch.sigmoid(x @ parameters["w"])
    exact = x.T @ ((chance * (1 - chance))[:, None] * x) / SAMPLES
    target = (y > 0).double()
    return Problem(
        "logistic",
        lambda p: x @ p["w"],
        lambda z: F.binary_cross_entropy_with_logits(z, target),
        parameters,
        exact,
        exact,
    )


def softmax() -> Problem:
    """mean cross-entropy with W [classes, features]: H = 1/N sum (diag p - p p') kron x x'."""
    x, _, labels = _data()
    parameters = _weights(CLASSES, FEATURES)
    chances = torch.softmax(x @ parameters["w"].T, 1)
    exact = sum(torch.kron(p.diag() - p.outer(p), a.outer(a)) for p, a in zip(chances, x, strict=True)) / SAMPLES
    return Problem("softmax", lambda p: x @ p["w"].T, lambda z: F.cross_entropy(z, labels), parameters, exact, exact)


def mlp(activation: Callable[[Tensor], Tensor] = torch.tanh, id: str = "mlp-tanh", seed: int = 0) -> Problem:
    """A two-layer network with 31 parameters; its Hessian is indefinite."""
    x, _, labels = _data()
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first.weight": (4, 4), "first.bias": (4,), "second.weight": (3, 4), "second.bias": (3,)}
    parameters = {n: torch.randn(*s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}

    def outputs(p: Parameters) -> Tensor:
        hidden = activation(F.linear(x, p["first.weight"], p["first.bias"]))
        return F.linear(hidden, p["second.weight"], p["second.bias"])

    def loss(z: Tensor) -> Tensor:
        return F.cross_entropy(z, labels)

    exact = brute_force_hessian(lambda p: loss(outputs(p)), parameters)
    vector = vector_of(parameters)
    jacobian = torch.func.jacrev(lambda v: outputs(unflattened(v, parameters)).flatten())(vector)
    logits = outputs(parameters)
    inner = hessian(lambda z: loss(z.view_as(logits)))(logits.flatten())
    return Problem(id, outputs, loss, parameters, exact, jacobian.T @ inner @ jacobian)


def quadratic(matrix: Tensor) -> tuple[Objective, dict[str, Tensor]]:
    """w'Aw/2 at a point other than the minimum, so H = A; the parameters come in two tensors, one of them 2-d."""
    n = len(matrix)
    point = torch.linspace(0.5, 1.5, n, dtype=torch.float64)
    parameters = {"a": point[:2].clone(), "b": point[2:].view(1, -1).clone()}

    def objective(p: Parameters) -> Tensor:
        w = vector_of(p)
        return 0.5 * w @ matrix @ w

    return objective, parameters


def symmetric(eigenvalues: Tensor, seed: int = 0) -> Tensor:
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues), generator=generator).double()).Q
    return basis @ eigenvalues.double().diag() @ basis.T


def vector_of(direction: Parameters) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in direction.values()])


def brute_force_hessian(objective: Objective, parameters: Parameters) -> Tensor:
    return hessian(lambda v: objective(unflattened(v, parameters)))(vector_of(parameters))


def _normalized(hidden: Tensor) -> Tensor:
    return F.layer_norm(F.gelu(hidden), (4,))


PROBLEMS = [
    linear(),
    logistic(),
    softmax(),
    mlp(),
    mlp(torch.relu, id="mlp-relu"),
    mlp(_normalized, id="mlp-gelu-layernorm"),
]
