"""Durations on the device's own clock, without waiting for it."""

import time
from collections import deque
from collections.abc import Callable

import torch

Mark = float | torch.cuda.Event


class Clock:
    """Measures between marks; on CUDA by events, whose time is told once they have passed.

    Args:
        device: the device that does the work.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._pending: deque[tuple[Mark, Mark, Callable[[float], None]]] = deque()

    def mark(self) -> Mark:
        """The moment at which the work that was given to the device up to here is done."""
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def tell(self, start: Mark, end: Mark, listener: Callable[[float], None]) -> None:
        """Call `listener` with the seconds between two marks: now, or in a later call when they are known."""
        self._pending.append((start, end, listener))
        while self._pending and _has_passed(self._pending[0][1]):
            first, last, its_listener = self._pending.popleft()
            its_listener(_seconds(first, last))


def _has_passed(mark: Mark) -> bool:
    return isinstance(mark, float) or bool(mark.query())  # type: ignore[no-untyped-call]


def _seconds(start: Mark, end: Mark) -> float:
    if isinstance(start, torch.cuda.Event):
        assert isinstance(end, torch.cuda.Event)
        return float(start.elapsed_time(end)) / 1000
    assert isinstance(end, float)
    return end - start
