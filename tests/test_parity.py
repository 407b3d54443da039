"""The law of parity: N ranks x A micro-batches of size B equal one process with a batch of N*A*B, in every cell.

Losses, weights, the state of the balancer, and the gradients and weights of the model are compared after each of four
optimizer steps with momentum. docs/compatibility.md shows the table of these cells.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from parity.cells import CELLS, Cell
from parity.ranks import train_on_ranks, train_or_refuse
from parity.table import FILE, table
from parity.training import STEPS, Record

from lightning_losses.callbacks import IncompatibleError

# Relative to the largest entry. Half precision rounds at 2^-8 and 2^-11, four times on the way and four steps long.
TOLERANCE = {"32": 1e-5, "64-true": 1e-12, "bf16-mixed": 3e-2, "16-mixed": 5e-3}
# The uninformed prediction (a mean, a median) is that of a batch, so what it scores depends on how batches are cut.
ESTIMATED = "_extra_state statistics"
ESTIMATE_TOLERANCE = 3e-2

Outcome = list[Record | Exception]


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, Outcome]:
    """What each cell that is asked for, and its reference, came to on each of its ranks."""
    asked = [parameters(item)["cell"] for item in request.session.items if "cell" in parameters(item)]
    cells = dict.fromkeys([*asked, *(c.reference for c in asked), *(c.uninterrupted for c in asked)])
    folder = tmp_path_factory.mktemp("parity")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = train_on_ranks([cell for cell in cells if cell.ranks == 2], folder)
    found |= {cell: [train_or_refuse(cell, 0, folder)] for cell in cells if cell.ranks == 1}
    torch.set_num_threads(threads)
    return found


def parameters(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if isinstance(item, pytest.Function) and "callspec" in vars(item) else {}


def works(outcome: Outcome) -> list[Record]:
    for found in outcome:
        if isinstance(found, Exception):
            raise found
    return outcome


def cases(cells: Iterable[Cell]) -> list[ParameterSet]:
    compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
    return [pytest.param(c, id=c.id, marks=[compiler] if c.mode == "inductor" else []) for c in cells]


@pytest.mark.parametrize("cell", cases(cell for cell in CELLS if cell.refusal is None))
def test_a_cell_equals_one_process_with_the_whole_batch(outcomes: dict[Cell, Outcome], cell: Cell) -> None:
    (reference,) = works(outcomes[cell.reference])
    records = works(outcomes[cell])
    assert {f"step {step}: weights" for step in range(1, STEPS + 1)} <= reference.keys()
    for name, expected in reference.items():
        for record in records:
            tolerance = ESTIMATE_TOLERANCE if name.endswith(ESTIMATED) else TOLERANCE[cell.precision]
            error = (record[name].double() - expected.double()).abs().max()
            assert error <= tolerance * expected.double().abs().max(), f"{name}: {record[name]} is not {expected}"
    for name, value in records[0].items():
        assert all(torch.equal(value, record[name]) for record in records), f"{name} differs between ranks"


@pytest.mark.parametrize("cell", cases(c for c in CELLS if c.refusal is None and c.mode == "resumed"))
def test_a_run_that_is_stopped_and_resumed_is_bit_equal(outcomes: dict[Cell, Outcome], cell: Cell) -> None:
    for resumed, uninterrupted in zip(works(outcomes[cell]), works(outcomes[cell.uninterrupted]), strict=True):
        assert resumed.keys() == uninterrupted.keys()
        for name, value in uninterrupted.items():
            assert torch.equal(resumed[name], value), name


@pytest.mark.parametrize("cell", cases(cell for cell in CELLS if cell.refusal is not None))
def test_a_cell_that_cannot_work_is_refused_by_name(outcomes: dict[Cell, Outcome], cell: Cell) -> None:
    for error in outcomes[cell]:
        assert isinstance(error, Exception), "it trained"
        with pytest.raises(IncompatibleError, match=cell.refusal):
            raise error


@pytest.mark.parametrize("cell", cases(dict.fromkeys(cell.reference for cell in CELLS)))
def test_the_weights_move_in_every_reference(outcomes: dict[Cell, Outcome], cell: Cell) -> None:
    """Equal records would prove nothing if nothing happened."""
    (record,) = works(outcomes[cell])
    assert not torch.equal(record["step 1: weights"], record[f"step {STEPS}: weights"])


def test_the_table_in_the_docs_is_that_of_these_cells() -> None:
    assert Path(FILE).read_text() == table(), "cd tests && python -m parity.table writes it anew"
