r"""The toy problem of the GradNorm paper (arXiv 1711.02257, section 4), and training on it by one method.

Task i regresses :math:`f_i(x) = \sigma_i \tanh((B + \epsilon_i) x)`, x of 250 numbers, f of 100, with the entries of
B from N(0, 10) and of each :math:`\epsilon_i` from N(0, 3.5); the trunk has four layers of 100 with ReLU, the heads are
affine. The paper leaves open whether 10 and 3.5 are variances, how x is distributed, the batch, the optimizer and the
number of steps. Here: variances, x from N(0, I/250), fresh batches of 100, Adam at 1e-3; the losses are means over
batch and outputs; 1000 held-out points.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from _methods import Method, Network, weighted_sum
from torch import Tensor, nn

INPUTS, OUTPUTS, HIDDEN, BATCH = 250, 100, 100, 100
EVALUATE_EVERY = 50


@dataclass
class Run:
    """What one training left behind.

    Args:
        ratios: held-out L_i(t) / L_i(0) at every `EVALUATE_EVERY`-th step, from 0 on, [evaluations, T].
        weights: the weights of every training step, [steps, T].
        errors: by the step of the check, how far the gradients of the trunk and of the heads are from those of the
            plain sum with the method's own weights, relative to the latter.
    """

    ratios: Tensor
    weights: Tensor
    errors: dict[int, tuple[float, float]]


class Problem:
    """The tasks' functions, the data and the network's first values, all from one seed."""

    def __init__(self, sigmas: Sequence[float], seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.sigmas = torch.tensor(sigmas)
        common = 10**0.5 * self._normal(OUTPUTS, INPUTS)
        self.matrices = common + 3.5**0.5 * self._normal(len(sigmas), OUTPUTS, INPUTS)
        self.held_out = self.batch(1000)
        torch.manual_seed(seed)
        self.network = _network(len(sigmas))

    def batch(self, size: int = BATCH) -> Tensor:
        """Fresh inputs."""
        return self._normal(size, INPUTS) / math.sqrt(INPUTS)

    def losses(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The mean squared error of each task, and the shared features."""
        targets = self.sigmas[:, None, None] * torch.tanh(x @ self.matrices.mT)
        features = self.network.trunk(x)
        pairs = zip(self.network.heads, targets, strict=True)
        return [(head(features) - target).square().mean() for head, target in pairs], features

    def train(self, make: Callable[[Network], Method], steps: int) -> Run:
        """Train with one method."""
        method = make(self.network)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        optimizer.add_param_group({"params": list(method.parameters()), "lr": method.learning_rate})
        tests, weights, errors = [self._test()], [], {}
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            x = self.batch()
            weights.append(method.backward(*self.losses(x)))
            if step <= 10 or step % EVALUATE_EVERY == 0:
                errors[step] = self._gradient_error(x, weights[-1])
            optimizer.step()
            if step % EVALUATE_EVERY == 0:
                tests.append(self._test())
        return Run(torch.stack(tests) / tests[0], torch.stack(weights), errors)

    @torch.no_grad()
    def _test(self) -> Tensor:
        return torch.stack(self.losses(self.held_out)[0])

    def _gradient_error(self, x: Tensor, weights: Tensor) -> tuple[float, float]:
        """What the method left in the parameters, against the plain weighted sum; the former is put back."""
        parts = [list(part.parameters()) for part in (self.network.trunk, self.network.heads)]
        found = [[p.grad for p in part] for part in parts]
        self.network.zero_grad()
        torch.autograd.backward(weighted_sum(weights, self.losses(x)[0]))
        errors = [_distance(gradients, [p.grad for p in part]) for part, gradients in zip(parts, found, strict=True)]
        for part, gradients in zip(parts, found, strict=True):
            for parameter, gradient in zip(part, gradients, strict=True):
                parameter.grad = gradient
        return errors[0], errors[1]

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def _network(tasks: int) -> Network:
    linears = [nn.Linear(a, HIDDEN) for a in (INPUTS, HIDDEN, HIDDEN, HIDDEN)]
    trunk = nn.Sequential(*[layer for linear in linears for layer in (linear, nn.ReLU())])
    return Network(trunk, linears[-1], [nn.Linear(HIDDEN, OUTPUTS) for _ in range(tasks)])


def _distance(found: Sequence[Tensor | None], plain: Sequence[Tensor | None]) -> float:
    """|found - plain| / |plain|, and exactly 0 where they are equal to the bit."""
    vector, reference = (torch.cat([g.flatten() for g in gradients if g is not None]) for gradients in (found, plain))
    return float((vector - reference).norm() / reference.norm())
