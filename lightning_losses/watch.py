"""Looking at the values of a loss without stopping the device for it."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor


def check_values(names: Sequence[str], values: Sequence[float], ratios: bool, step: int) -> None:
    """Every loss must be finite and, where the balancer needs ratios of losses, not negative.

    A 0 is no error: a batch, or a rank's share of it, may hold no label of a term. Balancers leave such a term out.

    Raises:
        FloatingPointError: a term is NaN or infinite; the message names the term, the value and the step.
        ValueError: a term is negative although the balancer takes ratios.
    """
    for name, value in zip(names, values, strict=True):
        if not math.isfinite(value):
            raise FloatingPointError(f"Term {name!r} must be finite, found {value} at step {step}.")
        if ratios and value < 0:
            raise ValueError(
                f"Term {name!r} must not be negative, because its balancer compares losses by their ratios; found "
                f"{value:g} at step {step}. Shift it, take a balancer without ratios, or set Term(..., balanced=False)."
            )


_ONLY_NOW = ContextVar("only_now", default=False)


@contextmanager
def nothing_later() -> Iterator[None]:
    """Inside, a `ValueWatch` leaves out what it could look at only later: it is of no training step.

    A measurement evaluates the loss far from where training has led. There it may be infinite, which the step after
    the measurement must not be blamed for.
    """
    token = _ONLY_NOW.set(True)
    try:
        yield
    finally:
        _ONLY_NOW.reset(token)


class ValueWatch:
    """Hands the values of tensors to a check: at once on the CPU, as soon as they have arrived on CUDA.

    On CUDA reading a number stops the host until the device has caught up. Here the copy is queued behind the work
    that made the value and looked at in a later call, once its event has passed; the check then speaks a step or two
    late, and training never waits.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[torch.cuda.Event, Tensor, Callable[[list[float]], None]]] = deque()

    def look(self, values: Tensor, check: Callable[[list[float]], None]) -> None:
        """Call `check` with the numbers of `values`, a 1-d tensor, now or in a later call of `look`.

        On CUDA it is not called for what is looked at inside of `nothing_later`.
        """
        if values.device.type != "cuda":
            check(values.tolist())
            return
        if _ONLY_NOW.get():
            return
        copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        copy.copy_(values, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(values.device))
        self._pending.append((event, copy, check))
        while self._pending and self._pending[0][0].query():  # type: ignore[no-untyped-call]
            _, arrived, its_check = self._pending.popleft()
            its_check(arrived.tolist())

    def __deepcopy__(self, memo: object) -> "ValueWatch":
        return ValueWatch()

    def __reduce__(self) -> tuple[type["ValueWatch"], tuple[()]]:
        return ValueWatch, ()
