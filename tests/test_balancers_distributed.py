"""Balancers on two ranks equal one process with the union of their batches."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from lightning_losses import LossModule, Term
from lightning_losses.balancers import DynamicWeightAverage, GradNorm, Gramian

RANKS, STEPS = 2, 12
BALANCERS = {
    "gradnorm": GradNorm,
    "dwa": lambda: DynamicWeightAverage(period=3),
    "gramian": lambda: Gramian(lambda gramian: gramian.diagonal().rsqrt()),
}
PLACES = ("features", "parameters")


def weights_of_a_training(rank: int, ranks: int) -> dict[str, Tensor]:
    """The weights that every balancer has reached on this rank's share of the batches."""
    reached = {}
    for name, make in BALANCERS.items():
        for place in PLACES:
            torch.manual_seed(0)
            trunk, heads = nn.Linear(5, 7).double(), nn.ModuleList(nn.Linear(7, i + 1).double() for i in range(3))
            criterion = LossModule({f"t{i}": Term() for i in range(3)}, balancer=make())
            for step in range(STEPS):
                batch = torch.randn(8, 5, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
                features = torch.tanh(trunk(batch.chunk(ranks)[rank]))
                losses = {
                    f"t{i}": (head(features) * (i + 1) - step / 5).square().mean() for i, head in enumerate(heads)
                }
                criterion(**losses, shared=features if place == "features" else trunk)
            reached[f"{name} at {place}"] = torch.stack(list(criterion.report.weights.values()))
    return reached


def train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    torch.save(weights_of_a_training(rank, RANKS), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.spawn(train, args=(str(folder),), nprocs=RANKS)
    return [weights_of_a_training(0, 1), *(torch.load(folder / f"rank{rank}.pt") for rank in range(RANKS))]


@pytest.mark.parametrize("case", [f"{name} at {place}" for name in BALANCERS for place in PLACES])
def test_two_ranks_equal_one_process(runs: list[dict[str, Tensor]], case: str) -> None:
    one, first, second = (run[case] for run in runs)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one, rtol=1e-5, atol=1e-6)
    assert (one - one.mean()).abs().max() > 1e-2  # something was balanced
