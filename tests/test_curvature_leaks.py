"""What an estimator has built is freed when it is done: a graph whose hooks lead back to it is found by no collector."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from lightning_losses.curvature import GaussNewtonTrace, HessianOperator, hutchinson_trace, residual_trace
from lightning_losses.curvature.loss_calls import record_loss_calls


class Token:
    """A hook that lives as long as its graph does."""

    def __call__(self, gradient: Tensor) -> None:
        pass


ESTIMATORS: dict[str, Callable[..., object]] = {
    "per-sample probes": lambda net, *args: GaussNewtonTrace(net).estimate(*args),
    "exact": lambda net, *args: GaussNewtonTrace(net).exact(*args),
    "residual": lambda net, *args: residual_trace(*args),
    "hutchinson": lambda net, *args: hutchinson_trace(*args, probes=2),
    "product": lambda net, objective, p: HessianOperator(objective, p).product(p),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_graphs_are_freed(name: str) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    parameters = {n: p.detach() for n, p in net.named_parameters()}
    tokens: list[weakref.ref[Token]] = []

    def objective(p: dict[str, Tensor]) -> Tensor:
        z, token = functional_call(net, p, torch.ones(2, 3)), Token()
        z.register_hook(token)
        tokens.append(weakref.ref(token))
        return cross_entropy(z, torch.tensor([0, 1]))

    ESTIMATORS[name](net, objective, parameters)
    gc.collect()
    assert tokens
    assert all(token() is None for token in tokens)


def test_no_hook_on_all_modules_is_left() -> None:
    """Torch forgets one table when it removes such a hook, and from then on warns of compiled modules."""
    with record_loss_calls():
        pass
    tables = vars(nn.modules.module)
    assert not any(tables[name] for name in tables if name.startswith("_global_") and "hooks" in name)
