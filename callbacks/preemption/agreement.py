"""What any rank knows, all ranks know at the same step."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist


class Agreement:
    """Tells all ranks which flags are up on any of them, in two halves so that nobody waits.

    `ask` sends the flags and returns at once; `answer` returns the result, which a training step later is there. It is
    an all-reduce of one byte per flag between CPUs, in a process group of its own: neither the order of the training's
    collectives nor its device is touched. Without a process group the answer is the question.

    All ranks must make the same calls. Making one is a collective call as well.

    >>> agreement = Agreement()
    >>> agreement.ask([False, True])
    >>> agreement.answer()
    [False, True]
    """

    def __init__(self) -> None:
        is_alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
        self._group: Any = None if is_alone else dist.new_group(backend="gloo")
        self._flags = torch.zeros(0, dtype=torch.uint8)
        self._work: dist.Work | None = None

    def ask(self, flags: Sequence[bool]) -> None:
        """Send the flags."""
        self.answer()
        self._flags = torch.tensor(flags, dtype=torch.uint8)
        if self._group is not None:
            self._work = dist.all_reduce(self._flags, dist.ReduceOp.MAX, group=self._group, async_op=True)

    def answer(self) -> list[bool]:
        """Whether each of the flags that were asked about last was up on any rank."""
        if self._work is not None:
            self._work.wait()
            self._work = None
        return [bool(flag) for flag in self._flags.tolist()]

    def close(self) -> None:
        """Leave the group; no rank may ask any more."""
        if self._group is not None and dist.is_initialized():
            dist.destroy_process_group(self._group)
        self._group = None
