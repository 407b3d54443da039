"""Trainings whose messages are counted, and how many numbers each message of a measured step is to have."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from _collectives import Message
from lightning.pytorch import Callback
from torch import nn
from torchjd.aggregation import UPGradWeighting

from lightning_losses.balancers import Balancer, DynamicWeightAverage, Fixed, GradNorm, Gramian, Uncertainty
from lightning_losses.callbacks import (
    GradientNormMonitor,
    HessianTraceMonitor,
    NormalizedLossMonitor,
    TermGradientMonitor,
)
from lightning_losses.losses import MSE, Dice, InfoNCE

TERMS, BATCH, INPUTS, FEATURES, OUTPUTS = 3, 4, 8, 8, 8  # FSDP2 fills shards up where ranks do not divide
WIDTH = 64  # of the trunk
EVERY = 2
SEARCH = 8  # about how often a search for the critical step asks for the loss


class Sizes(NamedTuple):
    """What messages may depend on.

    Args:
        T: terms of the loss.
        P: parameters of the model.
        Q: parameters of the shared layer.
        H: parameters of a head.
        G: groups of layers.
        K: tensors of parameters.
        C: classes.
        D: dimensions of an embedding.
        B: samples of a rank.
        N: ranks.
    """

    T: int
    P: int
    Q: int
    H: int
    G: int
    K: int
    C: int
    D: int
    B: int
    N: int


class Case(NamedTuple):
    """A training.

    Args:
        messages: of a measured step, beyond those of the same training without a LossModule or monitor.
        formula: of their numbers, for the reader; bold is what is as large as parameters or grows with the ranks.
        balancer: makes the balancer.
        place: where it measures: ``"features"``, ``"branches"`` or ``"neck"``; None for nowhere.
        loss: of every head.
        masked: whether targets have holes.
        references: over how many first steps the references of the bounds are estimated.
        monitor: makes a callback, which measures every second step.
        is_sharded: under FSDP2 instead of DDP.
        searches: whether messages of one number are as many as a search takes.
    """

    messages: Callable[[Sizes], list[Message]]
    formula: str
    balancer: Callable[[], Balancer] = Fixed
    place: str | None = None
    loss: Callable[[], nn.Module] = MSE
    masked: bool = False
    references: int = 0
    monitor: Callable[[], Callback] | None = None
    is_sharded: bool = False
    searches: bool = False


def reduced(*numbers: int, type: str = "Float") -> list[Message]:
    """All-reduces of so many numbers each."""
    return [Message("all_reduce", number, type) for number in numbers]


def gathered(*numbers: int) -> list[Message]:
    """Parameters that FSDP2 makes whole."""
    return [Message("all_gather", number, "Float") for number in numbers]


def buffers(numbers: int) -> list[Message]:
    """What DDP broadcasts before every forward: here the state of a balancer."""
    return [Message("broadcast", numbers, "Float")]


def upgrad(lagged: bool = False) -> Gramian:
    """The Gramian of all pairs."""
    return Gramian(UPGradWeighting(), lagged=lagged)


PLAIN, PLAIN_SHARDED = "DDP alone", "FSDP2 alone"
NOTHING = "nothing"
BALANCERS = {
    "Fixed": Case(lambda s: [], NOTHING),
    "Uncertainty": Case(lambda s: [], "nothing; the gradients have T numbers more", Uncertainty),
    "DynamicWeightAverage": Case(lambda s: reduced(2 * s.T) + buffers(4 * s.T), "2T; b 4T", DynamicWeightAverage),
    "GradNorm at features": Case(
        lambda s: reduced(2 * s.T, s.T) + buffers(7 * s.T + 1), "2T, T; b 7T + 1", GradNorm, "features"
    ),
    "GradNorm in branches": Case(
        lambda s: reduced(2 * s.T, s.T) + buffers(7 * s.T + 1), "2T, T; b 7T + 1", GradNorm, "branches"
    ),
    "GradNorm at parameters": Case(
        lambda s: reduced(2 * s.T, s.T * s.Q) + buffers(7 * s.T + 1), "2T, **T Q**; b 7T + 1", GradNorm, "neck"
    ),
    "Gramian(UPGrad) at features": Case(
        lambda s: reduced(2 * s.T, s.T**2) + buffers(s.T), "2T, T²; b T", upgrad, "features"
    ),
    "Gramian(UPGrad, lagged=True) at features": Case(
        lambda s: reduced(2 * s.T, s.T**2) + buffers(s.T), "2T, T²; b T", lambda: upgrad(lagged=True), "features"
    ),
    "Gramian(UPGrad) at parameters": Case(
        lambda s: reduced(2 * s.T, s.T * s.Q) + buffers(s.T), "2T, **T Q**; b T", upgrad, "neck"
    ),
}
LOSSES = {
    "Dice": Case(lambda s: reduced(*2 * s.T * [3 * s.C]), "a term: 3C, and 3C in the backward", loss=Dice),
    "masked or weighted mean": Case(lambda s: reduced(*s.T * [1]), "a term: 1", masked=True),
    "InfoNCE": Case(
        lambda s: reduced(*s.T * [s.N, s.N * s.B], type="Long") + reduced(*s.T * [1, s.N * s.B * s.D, s.N * s.B * s.D]),
        "a term: N, N B, 1, and **N B D** in both directions",
        loss=InfoNCE,
    ),
    "references, in the first 16 steps": Case(
        lambda s: reduced(*s.T * [3], type="Double"), "a term: 3 (MSE)", references=16
    ),
}
MONITORS = {
    "GradientNormMonitor": Case(
        lambda s: reduced(3 * s.G + 1, type="Double"),
        "3G + 1",
        monitor=lambda: GradientNormMonitor(every_n_steps=EVERY),
    ),
    "TermGradientMonitor at features": Case(
        lambda s: reduced(s.T**2 + 1, type="Double"),
        "T² + 1",
        place="features",
        monitor=lambda: TermGradientMonitor(every_n_steps=EVERY),
    ),
    "TermGradientMonitor at parameters": Case(
        lambda s: reduced(s.T**2 + 1, type="Double"),
        "T² + 1 a group",
        monitor=lambda: TermGradientMonitor(every_n_steps=EVERY, shared="trunk.*"),
    ),
    "NormalizedLossMonitor": Case(
        lambda s: reduced(4 * s.T, type="Double"), "4T", monitor=lambda: NormalizedLossMonitor(every_n_steps=EVERY)
    ),
    "HessianTraceMonitor, the trace": Case(
        lambda s: reduced(3 * (s.G + 3), type="Double"),
        "3 (G + 3)",
        monitor=lambda: HessianTraceMonitor(every_n_steps=EVERY, sharpness=None),
    ),
    "HessianTraceMonitor, and lambda_max": Case(
        lambda s: reduced(3 * (s.G + 3), 12, 1, type="Double") + reduced(*5 * [s.P]),
        "3 (G + 3), 12, 1, **5 times P**",
        monitor=lambda: HessianTraceMonitor(every_n_steps=EVERY),
    ),
    "HessianTraceMonitor, and critical": Case(
        lambda s: reduced(3 * (s.G + 3), 6, 1, *SEARCH * [1], type="Double") + reduced(s.P),
        "3 (G + 3), 6, 1, **P**, and 1 a loss that the search asks for",
        monitor=lambda: HessianTraceMonitor(every_n_steps=EVERY, sharpness="critical"),
        searches=True,
    ),
}
SHARDED = {
    "FSDP2: GradNorm at features": Case(
        lambda s: reduced(2 * s.T, s.T) + gathered(*s.T * [s.H]),
        "2T, T; **the heads' parameters once more**",
        GradNorm,
        "features",
        is_sharded=True,
    ),
    "FSDP2: GradNorm in branches": Case(
        lambda s: reduced(2 * s.T, s.T), "2T, T", GradNorm, "branches", is_sharded=True
    ),
    "FSDP2: GradientNormMonitor": Case(
        lambda s: reduced(3 * s.G, type="Double"),
        "3G",
        monitor=lambda: GradientNormMonitor(every_n_steps=EVERY),
        is_sharded=True,
    ),
    "FSDP2: HessianTraceMonitor, the trace": Case(
        lambda s: (
            reduced(3 * (s.G + 3), s.K, type="Double") + gathered(*2 * [s.P - s.Q - s.T * s.H, s.Q, *s.T * [s.H]])
        ),
        "3 (G + 3), K; **the parameters twice**",
        monitor=lambda: HessianTraceMonitor(every_n_steps=EVERY, sharpness=None),
        is_sharded=True,
    ),
}
CASES: Mapping[str, Case] = BALANCERS | LOSSES | MONITORS | SHARDED
PARAMETER_SIZED = frozenset(name for name, case in CASES.items() if "**" in case.formula)
