"""Losses that call the model, or look at its weights, on two ranks: the gradients are those of one process."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from parity.ranks import on_ranks
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from lightning_losses.attacks import pgd
from lightning_losses.losses import (
    MSE,
    R1,
    TRADES,
    CrossEntropy,
    ElasticNet,
    GradientPenalty,
    NonSaturatingGenerator,
)

Gradients = dict[str, Tensor]
Step = Callable[[nn.Module, Tensor], Tensor]


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def make_batch() -> Tensor:
    return torch.rand(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gradient_penalties(net: nn.Module, batch: Tensor) -> Tensor:
    samples = batch.clone().requires_grad_()
    logits = net(samples)
    return NonSaturatingGenerator()(logits) + GradientPenalty()(logits, samples) + R1()(logits, samples)


def trades_on_attacked_inputs(net: nn.Module, batch: Tensor) -> Tensor:
    target = (10 * batch[:, 0]).long() % 3
    options = {"steps": 3, "step_size": 0.05, "random_start": False}
    for norm in ("l2", "linf"):
        attacked = pgd(net, batch, target, CrossEntropy(), 0.1, norm=norm, **options)
    return TRADES()(*net(torch.cat([batch, attacked])).chunk(2), target)


def penalised_weights(net: nn.Module, batch: Tensor, first: bool) -> Tensor:
    """FSDP2 shows the layers' weights as shards before the forward pass, and the outermost ones' as a whole after it."""
    penalty = ElasticNet(include=["*"])
    early = penalty(net) if first else 0.0
    error = MSE()(net(batch), torch.zeros(len(batch), 3, dtype=batch.dtype))
    return error + (early if first else penalty(net))


def split_layers(net: nn.Sequential) -> nn.Module:
    for layer in (net[0], net[2]):
        fully_shard(layer)
    return fully_shard(net)


STEPS: dict[str, Step] = {
    "gradient penalties": gradient_penalties,
    "attacks": trades_on_attacked_inputs,
    "weights first": partial(penalised_weights, first=True),
    "weights last": partial(penalised_weights, first=False),
}
WAYS: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "ddp": DistributedDataParallel,
    "fsdp2": fully_shard,
    "fsdp2 of layers": split_layers,
}
CELLS = [(step, way) for step in STEPS for way in WAYS]


def train(rank: int, folder: Path) -> dict[tuple[str, str], tuple[Tensor, Gradients]]:
    """Loss and gradients of a rank's half of the batch."""
    dist.init_process_group("gloo", rank=rank, world_size=2)
    results = {}
    for step, way in CELLS:
        net = make_net()
        wrapped = WAYS[way](net)
        shards = [module for module in wrapped.modules() if isinstance(module, FSDPModule)]
        for module in shards:
            module.set_reshard_after_backward(step != "gradient penalties")
        loss = STEPS[step](wrapped, make_batch()[2 * rank : 2 * rank + 2])
        loss.backward()
        for module in shards:
            module.reshard()
        results[step, way] = loss.detach(), {name: whole(p.grad) for name, p in net.named_parameters()}
    return results


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str], tuple[Tensor, Gradients]]]:
    return on_ranks(train, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize(("step", "way"), CELLS)
def test_two_ranks_have_the_gradients_of_one_process(step: str, way: str, of_ranks) -> None:
    net = make_net()
    loss = STEPS[step](net, make_batch())
    loss.backward()
    values = [results[step, way][0] for results in of_ranks]
    torch.testing.assert_close(sum(values) / 2, loss.detach())
    for results in of_ranks:
        torch.testing.assert_close(results[step, way][1], {name: p.grad for name, p in net.named_parameters()})
