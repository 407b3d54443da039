r"""From counted messages to a large cluster: a model of a network, and sizes of models, as assumptions.

An all-reduce of n bytes by N ranks takes, with a latency a and a bandwidth B,

    tree: 2 a log2 N + 2 n / B,    ring: 2 (N - 1) (a + n / (N B)),

and the library takes the faster one. A broadcast is half of a tree, an all-gather half of a ring.
"""

from collections.abc import Iterable
from math import ceil, log2
from typing import NamedTuple

from _collectives import Message
from _scaling_cases import Sizes

LATENCY = 5e-6  # seconds from one node to another, software included
BANDWIDTH = 400e9 / 8  # bytes a second: one port of 400 Gb/s for each GPU
FLOAT = 4
RANKS = (8, 64, 1024)
LOGGED = 50  # steps: Lightning's log_every_n_steps


def cluster(ranks: int) -> Sizes:
    """A model with 7 B parameters in 34 groups of layers; four terms, a shared layer and heads of 4096 x 4096."""
    return Sizes(T=4, P=7 * 10**9, Q=4096**2, H=4096**2, G=34, K=300, C=19, D=256, B=32, N=ranks)


class Model(NamedTuple):
    """A transformer.

    Args:
        name: for the reader.
        parameters: P.
        blocks: L.
        width: d.
    """

    name: str
    parameters: float
    blocks: int
    width: int


MODELS = (
    Model("125 M", 125e6, 12, 768),
    Model("1.3 B", 1.3e9, 24, 2048),
    Model("7 B", 7e9, 32, 4096),
    Model("70 B", 70e9, 80, 8192),
)
TOKENS = 4096
"""In the sequence that each rank has in a look."""


def seconds(message: Message, ranks: int) -> float:
    """That one message takes."""
    hops, size = ceil(log2(ranks)), message.bytes
    if message.kind == "broadcast":
        return hops * LATENCY + size / BANDWIDTH
    ring = 2 * (ranks - 1) * (LATENCY + size / ranks / BANDWIDTH)
    if message.kind == "all_gather":
        return ring / 2
    return min(2 * hops * LATENCY + 2 * size / BANDWIDTH, ring)


def duration(messages: Iterable[Message], ranks: int) -> float:
    """Of messages one after the other, hidden behind nothing."""
    return sum(seconds(message, ranks) for message in messages)
