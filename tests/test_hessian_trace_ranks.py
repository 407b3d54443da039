"""What one process finds on the union of the ranks' batches the ranks find together, also of losses that look at all."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from parity.ranks import on_ranks
from test_hessian_trace import INPUTS, Model, batches, fit
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_losses.callbacks.over_ranks import mean_loss
from lightning_losses.callbacks.surface_directions import eigen_plane
from lightning_losses.curvature import critical_sharpness
from lightning_losses.curvature.directions import flattened
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
