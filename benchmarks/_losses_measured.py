"""What `losses.py` measures of one case: first that all rows agree, then time, memory and the limit that bytes set."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from _common import Spread, interleave, ratios, spread
from _losses_cases import Case, Loss
from _memory import peak_bytes
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

COPY = "copy"
WARM_UP = 6  # calls until compilers have compiled, and checks that look at the first batches only have looked
ROUND = 0.03  # seconds that a fast loss is repeated for in each round
MOST = 50  # repetitions


class Measured(NamedTuple):
    """One row: milliseconds of CPU time, forward and backward, and bytes for each element of the input."""

    ms: Spread
    over_limit: Spread
    over_ours: Spread
    saved: float
    peak: float


class CaseMeasured(NamedTuple):
    """The milliseconds that moving the bytes would take, the rows by name, and who is not installed."""

    limit_ms: float
    bytes_an_element: float
    rows: dict[str, Measured]
    missing: list[str]


def measure(case: Case, rounds: int) -> CaseMeasured:
    """Time and memory of every row of the case."""
    torch.manual_seed(0)
    input, target = case.data()
    input.requires_grad_()
    losses, missing = made(case)
    steps = {name: step(loss, input, target) for name, loss in losses.items()}
    check_agreement(case, losses, input, target)
    for work in steps.values():
        for _ in range(WARM_UP):
            work()
    saved = {name: saved_bytes(loss, input, target) / input.numel() for name, loss in losses.items()}
    peaks = {name: peak_of(work, input) / input.numel() for name, work in steps.items()}
    seconds = timed(steps | {COPY: copy(input)}, rounds)
    moved = 2 * (input.nbytes + target.nbytes) + input.nbytes  # read twice, and the gradient written
    limit = [one * moved / (2 * input.nbytes) for one in seconds.pop(COPY)]
    ours = seconds[case.rows[0].name]
    rows = {
        name: Measured(
            spread([1e3 * one for one in found]), ratios(found, limit), ratios(found, ours), saved[name], peaks[name]
        )
        for name, found in seconds.items()
    }
    return CaseMeasured(1e3 * median(limit), moved / input.numel(), rows, missing)


def made(case: Case) -> tuple[dict[str, Loss], list[str]]:
    """The losses by name, and the names of those that are not installed."""
    losses, missing = {}, []
    for row in case.rows:
        try:
            losses[row.name] = row.make()
        except ImportError:
            missing.append(row.name)
    return losses, missing


def step(loss: Loss, input: Tensor, target: Tensor) -> Callable[[], None]:
    """Forward and backward."""

    def both() -> None:
        input.grad = None
        loss(input, target).backward()

    return both


def check_agreement(case: Case, losses: dict[str, Loss], input: Tensor, target: Tensor) -> None:
    """Only what computes the same number may be compared.

    Raises:
        ValueError: a value or gradient is not that of the row that it has to equal.
    """
    for row in case.rows:
        if row.name in losses and row.same_as != row.name:
            other = row.same_as or case.rows[0].name
            (value, slope), (expected, expected_slope) = (
                value_and_gradient(losses[name], input, target) for name in (row.name, other)
            )
            apart = (value - expected).abs() / expected.abs()
            slopes_apart = (slope - expected_slope).norm() / expected_slope.norm()
            if not (apart < 1e-4 and slopes_apart < 2e-3):
                raise ValueError(
                    f"{row.name} is not {other}: {value:.6g}, not {expected:.6g}; "
                    f"gradients {slopes_apart:.2g} of their norm apart"
                )


def value_and_gradient(loss: Loss, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """In float64."""
    value = loss(input, target)
    (gradient,) = torch.autograd.grad(value, input)
    return value.detach().double(), gradient.double()


def saved_bytes(loss: Loss, input: Tensor, target: Tensor) -> int:
    """What autograd keeps for the backward pass: the memory of all saved tensors, each once, but not of the inputs."""
    saved = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage  # held, so that no other comes to lie there
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(input, target)
    for own in (input, target):
        saved.pop(own.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in saved.values())


def peak_of(work: Callable[[], None], input: Tensor) -> int:
    """Peak of a forward and backward, the gradient of the input included."""
    input.grad = None
    return peak_bytes(work)


def copy(input: Tensor) -> Callable[[], None]:
    """The fastest way to read and write as many bytes as the input has."""
    source = input.detach()
    into = torch.empty_like(source)

    def work() -> None:
        into.copy_(source)

    return work


def timed(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of CPU time by round, of a call; what is fast is called often in a round."""
    often = {name: repetitions(work) for name, work in works.items()}
    times = interleave({name: repeated(work, often[name]) for name, work in works.items()}, rounds, calls=1)
    return {name: [seconds / often[name] for seconds in clocks.cpu] for name, clocks in times.items()}


def repetitions(work: Callable[[], None]) -> int:
    """How often it fits into the time of a round."""
    start = perf_counter()
    work()
    return max(1, min(MOST, int(ROUND / (perf_counter() - start))))


def repeated(work: Callable[[], None], times: int) -> Callable[[], None]:
    """Several calls as one."""

    def works() -> None:
        for _ in range(times):
            work()

    return works
