"""Importances and penalties of a network in shards are those of one process that has it whole."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from parity.ranks import RANKS, on_ranks
from torch import Tensor, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Placement
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn import functional as F

from lightning_losses.anchors import Anchor, stable_penalty_step
from lightning_losses.extra_states import make_room
from lightning_losses.fisher import diagonal_fisher, output_sensitivity
from lightning_losses.losses import EWC

EXACT = {"rtol": 1e-12, "atol": 1e-14}
CLASSES = 3
SHARES = [[[0, 1], [2], [3, 4, 5]], [[6]]]  # samples of each batch: the second rank has one, of one sample


class Attention(nn.Module):
    """Tokens that see each other, and a layer that is not called in training."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm, self.head = nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, CLASSES)
        self.unused = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        return self.head(self.norm(torch.softmax(x @ x.mT, -1) @ x)).mean(1)


def make(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in evaluation mode, seven inputs and their classes."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    x, y = torch.randn(7, 2, 4, 4, generator=generator).double(), torch.randint(CLASSES, (7,), generator=generator)
    if name == "mlp":  # of one bias of a single number the second rank has nothing
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(32, 1), nn.Tanh(), nn.Linear(1, 5), nn.ReLU(), nn.Linear(5, CLASSES)
        )
    elif name == "convolutions":
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, CLASSES))
        net[1].running_mean.normal_()
    else:
        net, x = Attention(), torch.randint(5, (7, 6), generator=generator)
    return net.double().eval(), x, y


def by_layer(net: nn.Module) -> nn.Module:
    for layer in net.children():
        if any(True for _ in layer.parameters()):
            fully_shard(layer)
    return fully_shard(net)


def in_part(net: nn.Module) -> nn.Module:
    """All but the last layer, which every rank has whole."""
    for layer in list(net.children())[:-1]:
        if any(True for _ in layer.parameters()):
            fully_shard(layer)
    return net


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {"as one": fully_shard, "by layer": by_layer, "in part": in_part}
CELLS = [
    *(("mlp", way) for way in WAYS),
    *(("convolutions", way) for way in ("as one", "in part")),
    *(("attention", way) for way in ("as one", "by layer")),
]
MEASURES: dict[str, Callable[..., dict[str, Tensor]]] = {
    "exact": diagonal_fisher,
    "empirical": lambda net, batches: diagonal_fisher(net, batches, estimator="empirical"),
    "sensitivity": output_sensitivity,
}


def gradients(net: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    loss.backward()
    return {name: whole(p.grad) for name, p in net.named_parameters() if p.grad is not None}


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def lies_as(tensors: dict[str, Tensor], net: nn.Module) -> bool:
    """In the shards of the parameters, which lie in them now, or whole."""
    found = {name: placements(tensor) for name, tensor in tensors.items()}
    return found == {name: placements(p) for name, p in net.named_parameters()} and any(found.values())


def placements(tensor: Tensor) -> tuple[Placement, ...]:
    return tensor.placements if isinstance(tensor, DTensor) else ()


def measured(rank: int, name: str, way: str) -> dict[str, Any]:
    net, x, y = make(name)
    net, batches = WAYS[way](net), [(x[chosen], y[chosen]) for chosen in SHARES[rank]]
    F.cross_entropy(net(x), y)  # leaves what is outermost whole
    found: dict[str, Any] = {}
    for measure, function in MEASURES.items():
        importance = function(net, batches)
        found[f"{measure} lies as the parameters"] = lies_as(importance, net)
        found[measure] = {name: whole(f) for name, f in importance.items()}
    found["no trace"] = not any(p.grad is not None for p in net.parameters())
    found["gradients"] = gradients(net, F.cross_entropy(net(x), y))
    return found


def messages_of_a_batch(estimator: str) -> dict[str, int]:
    """By kind; of the second, since the first one shows which layers keep samples apart."""
    net, x, y = make("mlp")
    net, counts = by_layer(net), []
    for batches in (1, 2):
        with CommDebugMode() as messages:
            diagonal_fisher(net, batches * [(x, y)], estimator=estimator)
        counts.append({str(kind): count for kind, count in messages.get_comm_counts().items()})
    one, two = counts
    return {kind: two[kind] - one[kind] for kind in two}


class Task:
    """Steps on a task and its penalty, the same for one process and for ranks, of which each sees all samples."""

    def __init__(self, name: str, way: Callable[[nn.Module], nn.Module], mode: str) -> None:
        net, self.x, self.y = make(name)
        self.importances = [{n: torch.rand_like(p) for n, p in net.named_parameters()} for _ in range(3)]
        self.net = way(net)
        self.ewc = EWC(mode=mode, gamma=0.5 if mode == "online" else 1.0)

    def penalised(self, first: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """FSDP2 shows shards before the forward, and what is outermost whole behind it."""
        self.net.zero_grad()
        early = self.ewc(self.net) if first else None
        task = F.cross_entropy(self.net(self.x), self.y)
        penalty = self.ewc(self.net) if early is None else early
        return penalty.detach(), gradients(self.net, task + 3 * penalty)

    def move(self) -> None:
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter += parameter.sin()

    def end(self, task: int) -> None:
        self.net(self.x)  # as a validation does
        self.ewc.consolidate(self.net, self.importances[task])
        self.move()

    def run(self) -> list[Any]:
        """Penalties and gradients after no task, after one and after two."""
        found = [self.penalised(first=False)]
        for task in range(2):
            self.end(task)
            found += [self.penalised(first) for first in (True, False)]
        return found


def penalised(name: str, way: str, mode: str) -> dict[str, Any]:
    task = Task(name, WAYS[way], mode)
    found: dict[str, Any] = {"run": task.run()}
    anchors = task.ewc.anchors
    task.ewc.consolidate(task.net, {})  # FSDP2 takes back what it shows whole
    found["anchors lie as the parameters"] = all(
        lies_as(part, task.net) for anchor in anchors for part in (anchor.parameters, anchor.fisher)
    )
    with CommDebugMode() as messages:
        task.ewc(task.net)
    found["messages"] = messages.get_total_counts()
    return found


def loaded(name: str, way: Callable[[nn.Module], nn.Module], mode: str) -> list[Any]:
    """Penalties by anchors that one process has saved whole, at once and when another task has ended."""
    one, task, later = Task(name, lambda net: net, mode), Task(name, way, mode), Task(name, way, mode)
    one.run()
    for other in (task, later):
        other.ewc.load_state_dict(one.ewc.state_dict())
    later.end(2)
    importance = {name: whole(f) for name, f in later.ewc.importance.items()}
    return [*(task.penalised(first) for first in (False, True, False)), later.penalised(first=False), importance]


def reloaded(folder: Path) -> dict[tuple[int, int], bool]:
    """Whether a checkpoint of so many anchors is read by a model of so many others."""
    found = {}
    for saved, present in ((0, 2), (2, 0), (1, 2), (2, 1)):
        models = [nn.ModuleDict({"net": task.net, "ewc": task.ewc}) for task in (ended(saved), ended(present))]
        place = folder / f"{saved} for {present}"
        checkpoint.save({"state_dict": get_model_state_dict(models[0])}, checkpoint_id=place)
        make_room(models[1], place, init_device_mesh("cpu", (RANKS,)))
        state = {"state_dict": get_model_state_dict(models[1])}
        checkpoint.load(state, checkpoint_id=place)
        models[1].load_state_dict(state["state_dict"])
        anchors = [[everything(anchor) for anchor in model["ewc"].anchors] for model in models]
        torch.testing.assert_close(*anchors, rtol=0, atol=0)
        found[saved, present] = len(anchors[1]) == saved
    return found


def everything(anchor: Anchor) -> list[dict[str, Tensor]]:
    return [{name: whole(tensor) for name, tensor in part.items()} for part in (anchor.parameters, anchor.fisher)]


def ended(tasks: int) -> Task:
    task = Task("mlp", by_layer, "separate")
    for number in range(tasks):
        task.end(number)
    return task


def refusals(rank: int) -> dict[str, str]:
    x = torch.ones(2, 3, 4)
    bare = nn.Sequential(Bare(), nn.Linear(4, 3))
    borrowing = nn.Sequential(nn.Linear(4, 4), Borrowing())
    borrowing[1].lender.append(borrowing[0])
    linear = nn.Linear(4, 3)
    negative = torch.ones(3, 4)
    negative[2, 1] = -2.0  # which lies on the second rank
    calls: dict[str, Callable[[], object]] = {
        "lstm": lambda: diagonal_fisher(fully_shard(Recurrent()), [(x, None)]),
        "bare": lambda: diagonal_fisher(fully_shard(bare), [(x[:, 0], None)]),
        "borrowed": lambda: diagonal_fisher(fully_shard(borrowing), [(x[:, 0], None)]),
        "batched": lambda: diagonal_fisher(fully_shard(copy.deepcopy(linear)), [(x[:, 0], x[:, 0, 0].long())], estimator="batched"),
        "none here": lambda: diagonal_fisher(fully_shard(copy.deepcopy(linear)), [(x[:, 0], None)] if rank else [(x[:0, 0], None)]),
        "nowhere": lambda: diagonal_fisher(fully_shard(copy.deepcopy(linear)), []),
        "negative": lambda: EWC().consolidate(fully_shard(copy.deepcopy(linear)), {"weight": negative}),
    }  # fmt: skip
    return {name: refusal(call) for name, call in calls.items()}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0][:, -1]


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Borrowing(nn.Module):
    """Uses the weight of a layer that it has not called."""

    def __init__(self) -> None:
        super().__init__()
        self.lender: list[nn.Linear] = []
        self.own = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.own(F.linear(x, self.lender[0].weight))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises((ValueError, RuntimeError)) as error:
        call()
    return f"{type(error.value).__name__}: {error.value}"


def overshooting() -> list[bool]:
    """The greatest importance lies on the second rank."""
    ewc, net = EWC(), fully_shard(nn.Linear(1, 4))
    ewc.consolidate(net, {"weight": torch.tensor([[1.0], [2.0], [40.0], [3.0]])})
    with pytest.warns(UserWarning, match="greatest importance 40 .in 'weight'. = 2.1, above 2"):
        overshoots = not stable_penalty_step(5.0, 2.1 / 5 / 40, ewc.importance)
    return [overshoots, stable_penalty_step(5.0, 1.9 / 5 / 40, ewc.importance)]


MODES = ["online", "separate"]
ESTIMATORS = {"exact": CLASSES, "empirical": 1}  # and backwards


def on_a_rank(rank: int, folder: Path) -> dict[Any, Any]:
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    found: dict[Any, Any] = {cell: measured(rank, *cell) for cell in CELLS}
    found |= {(*cell, mode): penalised(*cell, mode) for cell in CELLS for mode in MODES}
    found |= {(name, way, mode, "loaded"): loaded(name, WAYS[way], mode) for name, way in CELLS for mode in MODES}
    return (
        found
        | {"refused": refusals(rank), "overshoots": overshooting(), "reloaded": reloaded(folder)}
        | {estimator: messages_of_a_batch(estimator) for estimator in ESTIMATORS}
    )


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    return on_ranks(on_a_rank, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("name", "way"), CELLS)
def test_importances_are_those_of_one_process(of_ranks, name: str, way: str, measure: str) -> None:
    net, x, y = make(name)
    expected = MEASURES[measure](net, [(x, y)])
    assert any(f.any() for f in expected.values())
    for found in of_ranks:
        torch.testing.assert_close(found[name, way][measure], expected, **EXACT)
        assert found[name, way][f"{measure} lies as the parameters"]


@pytest.mark.parametrize(("name", "way"), CELLS)
def test_measuring_leaves_no_trace_in_the_training(of_ranks, name: str, way: str) -> None:
    net, x, y = make(name)
    expected = gradients(net, F.cross_entropy(net(x), y))
    for found in of_ranks:
        assert found[name, way]["no trace"]
        torch.testing.assert_close(found[name, way]["gradients"], expected, **EXACT)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "way"), CELLS)
def test_penalty_and_gradients_are_those_of_one_process(of_ranks, name: str, way: str, mode: str) -> None:
    expected = Task(name, lambda net: net, mode).run()
    assert all(penalty > 0 for penalty, _ in expected[1:])
    for found in of_ranks:
        torch.testing.assert_close(found[name, way, mode]["run"], expected, **EXACT)
        assert found[name, way, mode]["anchors lie as the parameters"]


@pytest.mark.parametrize(("name", "way"), CELLS)
def test_a_penalty_is_one_message_for_all_anchors(of_ranks, name: str, way: str) -> None:
    assert [found[name, way, "separate"]["messages"] for found in of_ranks] == RANKS * [1]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_batch_gathers_layers_for_each_pass_and_scatters_their_sums(of_ranks, estimator: str) -> None:
    backwards = ESTIMATORS[estimator]
    for found in of_ranks:
        assert found[estimator] == {
            "c10d.allreduce_": 1,  # whether any rank has a batch left
            "c10d._allgather_base_": 3 * (1 + backwards),  # layers
            "c10d_functional.reduce_scatter_tensor": 6 * backwards,  # weights and biases
        }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "way"), CELLS)
def test_anchors_that_were_saved_whole_go_on_in_shards(of_ranks, name: str, way: str, mode: str) -> None:
    expected = loaded(name, lambda net: net, mode)
    for found in of_ranks:
        torch.testing.assert_close(found[name, way, mode, "loaded"], expected, **EXACT)


def test_checkpoints_may_hold_more_anchors_than_the_model_has_or_fewer(of_ranks) -> None:
    for found in of_ranks:
        assert found["reloaded"] == {(0, 2): True, (2, 0): True, (1, 2): True, (2, 1): True}


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("lstm", "ValueError: `network` must be made of layers that `layer_sums` knows where FSDP2 shards it, found lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0"),
        ("bare", "ValueError: `network` must be made of layers that `layer_sums` knows where FSDP2 shards it, found 0.scale elsewhere. Use DDP"),
        ("borrowed", "ShardedError: The network uses a sharded parameter otherwise than by calling the layer that owns it"),
        ("batched", "ValueError: `estimator` must be another than 'batched' where FSDP2 shards the network, found 'batched'"),
        ("none here", "ValueError: `batches` must be at least one batch with a sample on every rank where FSDP2 shards the network, found 'none on 1 of 2 ranks'"),
        ("nowhere", "ValueError: `batches` must be at least one batch with a sample, found 'none'"),
        ("negative", "ValueError: `fisher['weight']` must be at least 0 and finite everywhere, found -2.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_on_all_ranks(of_ranks, what: str, text: str) -> None:
    for found in of_ranks:
        assert text in found["refused"][what]


def test_all_ranks_know_the_greatest_importance(of_ranks) -> None:
    assert [found["overshoots"] for found in of_ranks] == RANKS * [[True, True]]
