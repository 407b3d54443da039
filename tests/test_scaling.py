"""What balancers and monitors send between ranks: exactly a formula, and nothing as large as parameters unless stated.

The benchmark counts every collective of two processes, those of C++ included; its table is docs/scaling.md.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "scaling.py"
T, C, G, N, B = 3, 8, 5, 2, 4  # terms, classes, groups of layers, ranks, samples of a rank
TRUNK, Q, HEAD = 8 * 64 + 64, 64 * 8 + 8, 8 * 8 + 8
P = TRUNK + Q + T * HEAD

STATED = {
    "GradNorm at parameters": [T * Q],
    "Gramian(UPGrad) at parameters": [T * Q],
    "InfoNCE": 2 * T * [N * B * C],
    "HessianTraceMonitor, and lambda_max": 5 * [P],
    "HessianTraceMonitor, and critical": [P],
    "FSDP2: GradNorm at features": T * [HEAD],
    "FSDP2: HessianTraceMonitor, the trace": 2 * [TRUNK, Q, *T * [HEAD]],
}
SEARCHES = ["HessianTraceMonitor, and critical"]
NUMBERS = {
    "Fixed": [],
    "Uncertainty": [],
    "DynamicWeightAverage": [2 * T, 4 * T],
    "GradNorm at features": [2 * T, T, 7 * T + 1],
    "GradNorm in branches": [2 * T, T, 7 * T + 1],
    "GradNorm at parameters": [2 * T, 7 * T + 1],
    "Gramian(UPGrad) at features": [2 * T, T * T, T],
    "Gramian(UPGrad, lagged=True) at features": [2 * T, T * T, T],
    "Gramian(UPGrad) at parameters": [2 * T, T],
    "Dice": 2 * T * [3 * C],
    "masked or weighted mean": T * [1],
    "InfoNCE": T * [N, N * B, 1],
    "references, in the first 16 steps": T * [3],
    "GradientNormMonitor": [3 * G + 1],
    "TermGradientMonitor at features": [T * T + 1],
    "TermGradientMonitor at parameters": [T * T + 1],
    "NormalizedLossMonitor": [4 * T],
    "HessianTraceMonitor, the trace": [3 * (G + 3)],
    "HessianTraceMonitor, and lambda_max": [3 * (G + 3), 12, 1],
    "HessianTraceMonitor, and critical": [3 * (G + 3), 6],
    "FSDP2: GradNorm at features": [2 * T, T],
    "FSDP2: GradNorm in branches": [2 * T, T],
    "FSDP2: GradientNormMonitor": [3 * G],
    "FSDP2: HessianTraceMonitor, the trace": [3 * (G + 3), 2 * G],
}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("scaling") / "scaling.json"
    command = [sys.executable, str(SCRIPT), "--ranks", str(N), "--output", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads(output.read_text())


def numbers(name: str, step: list[list[Any]]) -> list[int]:
    """But for the losses of a search, which are as many as it takes."""
    return sorted(count for _, count, type in step if not (name in SEARCHES and (count, type) == (1, "Double")))


def test_nothing_is_missed(counted) -> None:
    """What a strategy sends itself shows up whole: the gradients of all parameters, under FSDP2 the parameters too."""
    alone = counted["alone"][str(N)]
    own = ["broadcast", 1, "Long"]  # Lightning asks in every step whether another rank was told to stop
    assert alone["DDP alone"] == [["all_reduce", P, "Float"], own]
    gathered = sum(count for kind, count, _ in alone["FSDP2 alone"] if kind == "all_gather")
    reduced = sum(count for kind, count, _ in alone["FSDP2 alone"] if kind == "all_reduce")
    assert (gathered, reduced) == (P, P)


@pytest.mark.parametrize("name", NUMBERS)
def test_every_message_is_that_of_the_formula(counted, name: str) -> None:
    measured = counted["measured"][str(N)][name]
    expected = sorted([*NUMBERS[name], *STATED.get(name, [])])
    every = 2 if "Monitor" in name else 1  # those monitors measure every second step, and send nothing in the others
    assert sorted(numbers(name, step) for step in measured) == sorted(
        len(measured) // every * [expected] + len(measured) // 2 * (every - 1) * [[]]
    )


def test_every_case_that_is_counted_has_a_formula_here(counted) -> None:
    assert counted["measured"][str(N)].keys() == NUMBERS.keys()
    assert set(counted["parameter_sized"]) == STATED.keys()


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() - STATED.keys()))
def test_no_message_is_as_large_as_parameters(counted, name: str) -> None:
    assert max((count for step in counted["measured"][str(N)][name] for _, count, _ in step), default=0) < min(
        TRUNK, Q, HEAD
    )


def test_memory_follows_the_formulas(counted) -> None:
    """Of parameters: their copy; gradient, step and point; a basis and products. Of a token: 16 activations."""
    found = counted["coefficients"]
    assert found["GradientNormMonitor"] == pytest.approx(1, abs=0.01)
    assert found["critical"] == pytest.approx(4, abs=0.05)
    assert found["lambda_max"] == pytest.approx(13, abs=0.1)
    assert found["trace"] == pytest.approx(16, abs=0.2)
