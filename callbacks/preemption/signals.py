"""Which signals a process has received: the handler does no more than remember them."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_losses.checks import message

_shielded: set[signal.Signals] = set()  # what children that are forked now do not die of


class Signals:
    """Remembers signals instead of dying of them.

    A scheduler sends its signals to all processes of a job, also to the workers of a `DataLoader`, and a worker that
    dies of one takes the training down in the middle of a step. So children that are forked meanwhile ignore these
    signals from anyone but their parent. Children started otherwise (spawn, forkserver) do not.

    Args:
        names: of the signals, the one that matters most first.

    Raises:
        ValueError: a name is that of no signal, or of one that no process can catch.

    >>> signals = Signals(["SIGUSR1"])
    >>> signals.catch()
    >>> os.kill(os.getpid(), signal.SIGUSR1)
    >>> signals.received
    [True]
    >>> signals.release()
    """

    def __init__(self, names: Sequence[str]) -> None:
        uncatchable = ("SIGKILL", "SIGSTOP")
        for name in names:
            if name not in signal.Signals.__members__ or name in uncatchable:
                raise ValueError(message("signals", "names of signals that a process can catch", name))
        self.caught = [signal.Signals[name] for name in names]
        self._received: set[int] = set()
        self._process = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    @property
    def received(self) -> list[bool]:
        """Whether each of the signals has come."""
        return [number in self._received for number in self.caught]

    def forget(self) -> None:
        """None has come."""
        self._received.clear()

    def catch(self) -> None:
        """Begin to remember, in the place of the handlers that are there; signals that are held back come now."""
        if threading.current_thread() is not threading.main_thread():
            rank_zero_warn("Signals can be caught in the main thread alone: in this one, they end the process.")
            return
        self._process = os.getpid()
        _shield_children(self.caught)
        self._before = {number: signal.signal(number, self._remember) for number in self.caught}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.caught)  # which a launcher may have held back until now

    def release(self) -> None:
        """Put back the handlers that were there."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
        _shielded.clear()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._process:
            self._received.add(number)


def _shield_children(signals: Sequence[signal.Signals]) -> None:
    """From now on, forked children ignore the signals of strangers."""
    global _is_registered
    if not _is_registered and sys.platform == "linux":
        os.register_at_fork(after_in_child=_shield)
        _is_registered = True
    _shielded.update(signals)


_is_registered = False


def _shield() -> None:
    """Take the signals out of the hands of handlers, also of those that `DataLoader` sets in its workers later."""
    if _shielded:
        signal.pthread_sigmask(signal.SIG_BLOCK, _shielded)
        threading.Thread(target=_obey_parent, args=(frozenset(_shielded), os.getppid()), daemon=True).start()


def _obey_parent(signals: frozenset[signal.Signals], parent: int) -> None:
    """End this process when its parent wants it, as `DataLoader` does with a worker that does not end itself."""
    while signal.sigwaitinfo(signals).si_pid != parent:
        pass
    os._exit(0)
