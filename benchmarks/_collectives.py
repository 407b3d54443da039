"""What processes send to each other, read off the diary that torch's flight recorder keeps in every process group.

It is written in C++ where a collective starts, so it holds what Python never sees: DDP's buckets, FSDP2's gathers,
functional collectives, pickled objects, barriers. Not in it: the key-value store through which processes find each
other, used once.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import NamedTuple

from torch._C._distributed_c10d import _dump_fr_trace_json

SIZES = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Byte": 1, "Bool": 1}


class Message(NamedTuple):
    """One collective, as one rank takes part in it.

    Args:
        kind: ``"all_reduce"``, ``"all_gather"``, ``"broadcast"``, ``"barrier"``, ...
        numbers: what this rank puts in, or what comes out where that is more.
        type: of the numbers.
    """

    kind: str
    numbers: int
    type: str

    @property
    def bytes(self) -> int:
        """Of its numbers."""
        return self.numbers * SIZES[self.type] if self.numbers else 0


def record(capacity: int = 2**16) -> None:
    """Switch the recorder on; to be called before the process group is made."""
    os.environ["TORCH_FR_BUFFER_SIZE"] = str(capacity)


def messages() -> list[Message]:
    """All collectives so far, in the order in which they started."""
    entries = json.loads(_dump_fr_trace_json(True, False)).get("entries", [])
    return [_message(entry) for entry in sorted(entries, key=lambda entry: entry["record_id"])]


def beyond(found: Iterable[Message], known: Iterable[Message]) -> list[Message]:
    """The messages of `found` that are not among those of `known`."""
    return list((Counter(found) - Counter(known)).elements())


def _message(entry: dict) -> Message:
    given, returned = (sum(prod(size) for size in entry[f"{side}_sizes"]) for side in ("input", "output"))
    types = {*entry["input_dtypes"], *entry["output_dtypes"]} or {"Float"}
    (kind,) = types
    return Message(entry["profiling_name"].partition(":")[2], max(given, returned), kind)
