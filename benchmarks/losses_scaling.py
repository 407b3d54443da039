"""How do time and memory of a loss grow with the size of its input?

Forward and backward on one thread. Each loss is measured at sizes that double; an exponent k of "time ~ size^k" is the
slope of a straight line through the logarithms. 1 is linear, 2 quadratic; a sort, n log n, looks like 1.1 at these
sizes, so the table also says how much dearer one element is at the largest size than at the smallest.
"""

import ctypes
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from _common import arguments, interleave, publish, ratios, table
from _memory import peak_bytes
from torch import Tensor

from lightning_losses.losses import (
    BCEWithLogits,
    Contrastive,
    CrossEntropy,
    Dice,
    DiceCE,
    FocalTversky,
    InfoNCE,
    ListMLE,
    Loss,
    LovaszHinge,
    LovaszSoftmax,
    MultiMargin,
    PairwiseLogistic,
    SigmoidFocal,
    SoftmaxFocal,
    Triplet,
    Tversky,
)

CLASSES, DIMENSIONS, PER_LABEL = 4, 64, 4
SIZES = 4
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h

Inputs = Callable[[int], tuple[Tensor, Tensor]]


def doubling(first: int) -> tuple[int, ...]:
    """The sizes of a row."""
    return tuple(first * 2**i for i in range(SIZES))


def binary(n: int) -> tuple[Tensor, Tensor]:
    """A logit and a label 0 or 1 for each element."""
    return torch.randn(1, n), torch.randint(2, (1, n)).float()


def classes(n: int) -> tuple[Tensor, Tensor]:
    """Logits of 4 classes for n / 4 pixels."""
    return torch.randn(1, CLASSES, n // CLASSES), torch.randint(CLASSES, (1, n // CLASSES))


def embeddings(n: int) -> tuple[Tensor, Tensor]:
    """Embeddings, four of each label."""
    return torch.randn(n, DIMENSIONS), torch.arange(n) // PER_LABEL


def items(n: int) -> tuple[Tensor, Tensor]:
    """One query with n items."""
    return torch.randn(1, n), torch.randint(5, (1, n)).float()


class Row(NamedTuple):
    """A loss, and the sizes at which it is measured."""

    loss: Loss
    inputs: Inputs
    sizes: tuple[int, ...]
    unit: str


PIXELS, BATCH, LARGE_BATCH = doubling(2**19), doubling(256), doubling(512)
ROWS = [
    *(Row(loss, binary, PIXELS, "numbers") for loss in (BCEWithLogits(), SigmoidFocal())),
    *(Row(loss, classes, PIXELS, "numbers") for loss in (CrossEntropy(), SoftmaxFocal(), MultiMargin())),
    *(Row(loss, classes, PIXELS, "numbers") for loss in (Dice(), DiceCE(), Tversky(), FocalTversky())),
    Row(LovaszHinge(), binary, PIXELS, "numbers"),
    Row(LovaszSoftmax(), classes, PIXELS, "numbers"),
    Row(ListMLE(), items, PIXELS, "items"),
    Row(PairwiseLogistic(), items, LARGE_BATCH, "items"),
    Row(InfoNCE(), embeddings, LARGE_BATCH, "embeddings"),
    *(Row(loss, embeddings, BATCH, "embeddings") for loss in (Contrastive(), Triplet())),
    Row(Triplet(mining="batch_all"), embeddings, BATCH, "embeddings"),
]


def keep_memory() -> None:
    """Let glibc keep what was freed: the kernel clears every new page, which makes large tensors dearer than linear."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class Growth(NamedTuple):
    """What was measured of a row."""

    seconds: list[float]
    bytes: list[int]
    time_exponent: float
    memory_exponent: float
    dearer: str


def slope(sizes: tuple[int, ...], values: list[float]) -> float:
    """Of the least-squares line through the logarithms."""
    x, y = (torch.tensor(numbers, dtype=torch.float64).log() for numbers in (sizes, values))
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


def step(row: Row, size: int) -> Callable[[], None]:
    """Forward and backward."""
    input, target = row.inputs(size)
    input.requires_grad_()

    def run() -> None:
        torch.autograd.grad(row.loss(input, target), input)

    return run


def measure(row: Row, repeats: int) -> Growth:
    """Times of all sizes, interleaved, and peaks of memory."""
    steps = {str(size): step(row, size) for size in row.sizes}
    times = interleave(steps, repeats, 1)
    seconds = [sorted(clocks.cpu)[len(clocks.cpu) // 2] for clocks in times.values()]
    peaks = [peak_bytes(work) for work in steps.values()]
    first, last = (times[str(size)].cpu for size in (row.sizes[0], row.sizes[-1]))
    shares = [row.sizes[-1] / row.sizes[0] * value for value in first]
    exponents = slope(row.sizes, seconds), slope(row.sizes, [float(peak) for peak in peaks])
    return Growth(seconds, peaks, *exponents, ratios(last, shares).text(1))


def line(row: Row, growth: Growth) -> tuple[str, ...]:
    """A line of the table."""
    sizes = f"{row.sizes[0]:,} to {row.sizes[-1]:,} {row.unit}"
    held = " to ".join(f"{growth.bytes[i] / row.sizes[i]:,.0f}" for i in (0, -1))
    return (
        *(f"`{row.loss!r}`", sizes, f"{growth.time_exponent:.2f}", growth.dearer),
        *(f"{growth.memory_exponent:.2f}", held),
    )


def main() -> None:
    options = arguments(__doc__, repeats=9)
    torch.set_num_threads(1)
    keep_memory()
    torch.manual_seed(0)
    growths = [measure(row, options.repeats) for row in ROWS]
    columns = (
        *("", "sizes", "time ~ size^k: k", "time per element, largest / smallest size"),
        *("memory ~ size^k: k", "bytes per element, smallest to largest size"),
    )
    note = (
        f"Forward and backward, {CLASSES} classes, {SIZES} sizes that double; CPU time, median [quartiles] of "
        f"{options.repeats} interleaved rounds. Peak memory beyond the input, the gradient included. n log n would "
        f"show a k of {1 + 1 / math.log(PIXELS[1]):.2f} and make an element of the largest size "
        f"{math.log(PIXELS[-1], PIXELS[0]):.2f} times as dear, n^2 a k of 2 and {2 ** (SIZES - 1)} times."
    )
    text = f"{table(columns, [line(*pair) for pair in zip(ROWS, growths, strict=True)])}\n\n{note}"
    data = {repr(row.loss): {"sizes": row.sizes, **growth._asdict()} for row, growth in zip(ROWS, growths, strict=True)}
    publish(options.output, "How do time and memory of a loss grow with its input?", text, {"growth": data})


if __name__ == "__main__":
    main()
