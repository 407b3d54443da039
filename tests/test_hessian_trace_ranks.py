"""What one process finds on the union of the ranks' batches the ranks find together, also of losses that look at all."""

import copy
import re
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.distributed as dist
from hessian_trace_problem import INPUTS, Model, Recurrent, batches, fit, mlp
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from parity.ranks import on_ranks
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_losses.callbacks import HessianTraceMonitor, IncompatibleError
from lightning_losses.callbacks.over_ranks import mean_gradient, mean_loss
from lightning_losses.callbacks.surface_directions import eigen_plane
from lightning_losses.curvature import critical_sharpness
from lightning_losses.curvature.directions import flattened
from lightning_losses.distributed import sum_over_ranks
from lightning_losses.losses import CrossEntropy, Dice

Batches = list[tuple[Tensor, Tensor]]
Found = dict[str, tuple[float, float]]


class Overlap(nn.Module):
    """Dice of the batches of all ranks, whose forward asks the others, beside a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.dice, self.entropy = Dice(), CrossEntropy()

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        return self.dice(logits, label) + self.entropy(logits, label)


def overlapping(data: Batches, sharpness: str, **trainer: Any) -> list[Found]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(INPUTS, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return found(Model(net, loss=Overlap(), optimizer=lambda p: torch.optim.Adam(p, lr=0.05)), data, trainer, sharpness)


def binary(data: Batches, **trainer: Any) -> list[Found]:
    """A network with one output: its per-sample probes have no noise, so ranks can be compared digit by digit."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(INPUTS, 5), nn.ReLU(), nn.Linear(5, 1)).double()
    loss = lambda z, y: binary_cross_entropy_with_logits(z, y.unsqueeze(1).double() / 2)  # noqa: E731
    return found(Model(net, loss=loss), data, trainer, None)


def found(model: Model, data: Batches, trainer: dict[str, Any], sharpness: str | None) -> list[Found]:
    data = [(x.double(), y) for x, y in data]
    return [latest for latest, _ in fit(model, data, trainer=trainer | {"precision": "64-true"}, sharpness=sharpness)]


def eigenvectors(data: Batches, **trainer: Any) -> list[Found]:
    """The plane of a `LossSurfacePlot`, a batch after another."""
    torch.manual_seed(0)
    net, loss = nn.Sequential(nn.Linear(INPUTS, 5), nn.Tanh(), nn.Linear(5, 3)).double(), Overlap()
    at = {name: p.detach() for name, p in net.named_parameters()}
    planes = [
        eigen_plane(lambda p, x=x, y=y: loss(functional_call(net, p, x.double()), y), at, seed=0) for x, y in data
    ]
    vectors = [torch.cat([flattened(direction) for direction in plane.directions]) for plane in planes if plane]
    assert len(vectors) == len(data)
    return [{str(index): (value, 0.0) for index, value in enumerate(vector.tolist())} for vector in vectors]


TRAININGS = {
    "critical": partial(overlapping, sharpness="critical"),
    "lambda_max": partial(overlapping, sharpness="lambda_max"),
    "DDP's static graph, which the monitor's own forwards do not enter": binary,
    "eigenvectors": eigenvectors,  # while the group of the trainings is still there
}


def work(rank: int, folder: Path) -> dict[str, list[Found]]:
    def ddp(name: str) -> dict[str, Any]:
        strategy = DDPStrategy(timeout=timedelta(minutes=2), static_graph="static" in name)
        return {"strategy": strategy, "devices": 2, "use_distributed_sampler": False}

    return {name: train(batches(rank), **ddp(name)) for name, train in TRAININGS.items()}


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Found]]]:
    return on_ranks(work, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", TRAININGS)
def test_two_ranks_find_what_one_process_finds_on_both_batches(of_ranks, name: str) -> None:
    """Digit by digit, though searches take as many steps as the loss wants, and though probes are random."""
    union = [(torch.cat([x, u]), torch.cat([y, v])) for (x, y), (u, v) in zip(batches(0), batches(1), strict=True)]
    expected = TRAININGS[name](union)
    for of_rank in of_ranks:
        for look, exact in zip(of_rank[name], expected, strict=True):
            assert look.keys() == exact.keys()
            for key, (value, _) in exact.items():
                assert look[key][0] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), key


def test_a_search_goes_on_where_a_loss_far_away_is_not_finite() -> None:
    def loss(parameters: dict[str, Tensor]) -> Tensor:
        if parameters["w"].abs() > 10:
            raise FloatingPointError("Term 'square' must be finite")
        return parameters["w"] ** 2

    at, slope = {"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)}
    assert critical_sharpness(mean_loss(loss), at, slope, first_step=64.0).value == pytest.approx(2.0)


def with_a_loss_of_one_rank(rank: int, folder: Path) -> dict[str, Any]:
    dist.init_process_group("gloo", rank=rank, world_size=2)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        if rank == 1:
            raise FloatingPointError("Term 'square' must be finite")
        return parameters["w"].square().sum()

    at = {"w": torch.ones(20)}
    with pytest.raises(FloatingPointError) as raised:
        mean_gradient(loss, at)
    plane = eigen_plane(loss, at, seed=0)
    return {"error": str(raised.value), "plane": plane, "later": sum_over_ranks(torch.ones(20)).tolist()}


def test_all_ranks_leave_a_look_where_one_has_no_finite_loss(tmp_path: Path) -> None:
    """Otherwise the others' gradients would meet what that rank sends next."""
    first, second = on_ranks(with_a_loss_of_one_rank, tmp_path)
    assert (first.pop("error"), second.pop("error")) == (
        "The loss of a rank is not finite.",
        "Term 'square' must be finite",
    )
    assert first == second == {"plane": None, "later": [2.0] * 20}


class Sharded(Model):
    """FSDP2 where the strategy is one for it."""

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            for part in self.net:
                if list(part.parameters()):
                    fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def sharded_on_rank(rank: int, folder: Path) -> list[Any]:
    """What a rank finds under DDP and under FSDP2, and what it says of a network without formula."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Embedding(5, 6), nn.Flatten(), nn.Linear(18, 6), nn.BatchNorm1d(6, momentum=0.0), nn.ReLU(), nn.Linear(6, 3)
    )
    data = [(x.mul(9).long().remainder(5), y) for x, y in batches(rank, shape=(3,))]

    def fsdp() -> ModelParallelStrategy:
        return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)

    found = [
        fit(Sharded(copy.deepcopy(net)), data, trainer={"devices": 2, "strategy": strategy})
        for strategy in ("ddp", fsdp())
    ]
    try:
        fit(Sharded(nn.Sequential(Recurrent())), batches(shape=(5, 3)), trainer={"devices": 2, "strategy": fsdp()})
    except IncompatibleError as error:
        found.append(str(error))
    return found


def test_shards_have_the_trace_of_the_whole(tmp_path: Path) -> None:
    """Also the layer-normalised one, whose norms are those of whole parameters; a layer without formula is named."""
    for ddp, fsdp, refusal in on_ranks(sharded_on_rank, tmp_path):
        for (expected, _), (found, _) in zip(ddp, fsdp, strict=True):
            assert found.keys() == expected.keys()
            for name, (value, error) in expected.items():
                assert found[name] == pytest.approx((value, error), rel=1e-4)
        assert "No formula gives the norms of single samples at net.0.rnn.weight_ih_l0" in refusal


@pytest.mark.parametrize(
    ("options", "sizes", "words"),
    [
        ({}, (2, 1), 'HessianTraceMonitor(sharpness="lambda_max") does not work with ModelParallelStrategy'),
        ({"sharpness": "critical"}, (2, 1), "Instead, take sharpness=None, or use DDPStrategy."),
        ({"sharpness": None, "matrix": "Hessian"}, (2, 1), 'Instead, take matrix="auto", or use DDPStrategy.'),
        ({"sharpness": None}, (1, 2), "HessianTraceMonitor does not work with tensor_parallel_size=2"),
    ],
    ids=["lambda_max", "critical", "Hessian", "tensor parallel"],
)
def test_what_needs_parameters_whole_is_refused_of_shards(
    options: dict[str, Any], sizes: tuple[int, int], words: str
) -> None:
    strategy = ModelParallelStrategy(*sizes)
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False)
    with pytest.raises(IncompatibleError, match=re.escape(words)):
        HessianTraceMonitor(**options).setup(trainer, Model(mlp()), "fit")
