"""Two ranks with unequal shares of the valid elements equal one process with the union of their batches.

What DDP does to gradients, averaging them over ranks, is done here by hand to the gradient of a shared parameter.
"""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from cases import CASES, Case
from torch import Tensor

RANKS = 2
Result = dict[str, dict[str, Tensor]]


def evaluate(case: Case, rank: int, ranks: int, kind: str) -> dict[str, Tensor]:
    """Value, gradient of a shared shift of the inputs, and statistics on a rank's share of the batch."""
    generator = torch.Generator().manual_seed(0)
    input, target = case.inputs(generator, 4)
    chances = torch.tensor([0.9, 0.9, 0.2, 0.2]).reshape(-1, *[1] * (len(case.elements(target)) - 1))
    mask = torch.rand(case.elements(target), generator=generator) < chances
    weight = torch.rand(mask.shape, generator=generator, dtype=torch.float64)
    if kind == "one rank has nothing":
        mask[2:] = False
    ends = (0, 4) if ranks == 1 else (0, 1, 4) if kind == "unequal shares" else (0, 2, 4)
    share = slice(ends[rank], ends[rank + 1])
    arguments = {} if kind in ("no mask", "unequal shares") else {"mask": mask[share]}
    if arguments and case.weighable:
        arguments["weight"] = weight[share]

    shift = torch.zeros_like(input[0], requires_grad=True)
    loss = case.loss()
    value = loss(input[share] + shift, target[share], **arguments)
    (gradient,) = torch.autograd.grad(value, shift)
    return {
        "value": value.detach(),
        "gradient": gradient,
        "statistics": loss.statistics(input[share], target[share], **arguments),
    }


KINDS = ("no mask", "unequal masks", "one rank has nothing")
ROWS = [(case, kind) for case in CASES if not case.per_rank for kind in KINDS]
ROWS += [(case, "unequal shares") for case in CASES if case.ragged]


def evaluate_all(rank: int, ranks: int) -> Result:
    return {f"{case.id} {kind}": evaluate(case, rank, ranks, kind) for case, kind in ROWS}


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    torch.save(evaluate_all(rank, RANKS), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, list[Result]]:
    """Of one process, and of each of the ranks."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.spawn(run_rank, args=(str(folder),), nprocs=RANKS)
    return evaluate_all(0, 1), [torch.load(folder / f"rank{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize(("case", "kind"), ROWS)
def test_the_ranks_average_is_the_union(results: tuple[Result, list[Result]], case: Case, kind: str) -> None:
    one, of_ranks = results[0][f"{case.id} {kind}"], [result[f"{case.id} {kind}"] for result in results[1]]
    for what in ("value", "gradient"):
        torch.testing.assert_close(sum(rank[what] for rank in of_ranks) / RANKS, one[what])
    assert torch.equal(of_ranks[0]["statistics"], of_ranks[1]["statistics"])
    if case.pooled:
        torch.testing.assert_close(of_ranks[0]["statistics"], one["statistics"])
