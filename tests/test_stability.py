"""The stated limit is where training on a quadratic turns from convergence to divergence."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from lightning_losses.callbacks.stability import stability_of


def descend(make, curvature: float, steps: int = 4000) -> float:
    """The distance from the minimum of 0.5 * curvature * x^2 after descending from 1."""
    x = nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = make([x])
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * curvature * x.square()).backward()
        optimizer.step()
        if abs(x.item()) > 1e6:
            break
    return abs(x.item())


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, lr=0.1),
        lambda p: SGD(p, lr=0.1, momentum=0.9),
        lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: SGD(p, lr=0.1, momentum=0.5, weight_decay=2.0),
    ],
    ids=["sgd", "momentum", "nesterov", "weight decay"],
)
def test_sgd_converges_below_the_limit_and_diverges_above(make) -> None:
    x = nn.Parameter(torch.ones(()))
    found = stability_of(make([x]), {id(x): "x"})
    assert found.is_uniform
    largest = found.limit / float(found.steps["x"]) - found.decay["x"]
    assert descend(make, 0.99 * largest) < 1e-6
    assert descend(make, 1.01 * largest) > 1e6


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("kind", [Adam, AdamW], ids=["adam", "adamw"])
def test_adam_turns_at_the_limit(kind: type[Adam], beta: float) -> None:
    """Its first moment is an average: the recursion by hand, with a second moment that stands at 1."""
    p = nn.Parameter(torch.ones(()))
    optimizer = kind([p], lr=0.1, betas=(beta, 0.999), eps=0.0)
    assert stability_of(optimizer, {id(p): "p"}) is None  # nothing is known of the second moment yet
    optimizer.state[p] = {"step": torch.tensor(1e9), "exp_avg": torch.zeros(()), "exp_avg_sq": torch.ones(())}
    found = stability_of(optimizer, {id(p): "p"})
    rate, limit, ends = float(found.steps["p"]), found.limit, []
    assert rate == pytest.approx(0.1)
    for factor in (0.99, 1.01):
        x, m = 1.0, 0.0
        for _ in range(5000):
            m = beta * m + (1 - beta) * factor * limit / rate * x
            x -= rate * m
            x = max(-1e9, min(1e9, x))
        ends.append(abs(x))
    assert ends[0] < 1e-6
    assert ends[1] > 1e6


def test_what_it_does_not_know_is_none() -> None:
    x = nn.Parameter(torch.ones(()))
    assert stability_of(torch.optim.Adagrad([x]), {id(x): "x"}) is None
    mixed = SGD([{"params": [x], "momentum": 0.9}, {"params": [nn.Parameter(torch.ones(()))], "momentum": 0.5}], lr=0.1)
    assert stability_of(mixed, {id(x): "x"}) is None


def test_rmsprop_divides_by_its_root_mean_square() -> None:
    x = nn.Parameter(torch.full((2,), 3.0))
    optimizer = RMSprop([x], lr=0.1, alpha=0.0, eps=0.5)
    (x * torch.tensor([1.0, 2.0])).sum().backward()
    optimizer.step()
    found = stability_of(optimizer, {id(x): "x"})
    assert not found.is_uniform
    torch.testing.assert_close(found.steps["x"], 0.1 / torch.tensor([1.5, 2.5]))
