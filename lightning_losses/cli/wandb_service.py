"""W&B's process, in a job of SLURM: apart from the processes of the training, so that their signals do not end it."""

import os
import subprocess
import sys
import time
from pathlib import Path

from lightning_losses.callbacks.preemption import slurm

VARIABLE = "WANDB_SERVICE"
IDLE = "30s"
"""How long W&B's process waits for another training after the one that it has served was killed.

It must be longer than the 15 s in which W&B's process writes what it has: when it is through with waiting, it may end
before it has written the rest (W&B 0.31).
"""
PATIENCE = 60.0

_started: list[str] = []


def start() -> None:
    """Start W&B's process where no signal to a job reaches it.

    Some clusters (``ProctrackType=proctrack/linuxproc``) send a job's signals to all descendants of its processes.
    SIGTERM would end W&B's, which can neither block nor ignore it, with all that it has not written yet: up to half a
    minute. So it is started by a process that ends: it then is nobody's descendant. It ends by `stop`, or when the
    training has been gone for half a minute. Outside of SLURM, and where it does not start, W&B starts it itself.
    """
    if slurm.job_id() is not None and VARIABLE not in os.environ:
        address = _core("start", "--idle-timeout", IDLE)
        if address:
            os.environ[VARIABLE] = address
            _started.append(address)


def stop() -> None:
    """End the process that `start` has started, when it has written everything."""
    if not _started:
        return
    _core("stop")
    del os.environ[VARIABLE]
    socket = Path(_started.pop().partition("-unix-")[2])
    deadline = time.monotonic() + PATIENCE
    while socket.is_socket() and time.monotonic() < deadline:
        time.sleep(0.05)


def _core(*words: str) -> str:
    """What `wandb beta core` prints; nothing if it fails."""
    command = [sys.executable, "-m", "wandb", "beta", "core", *words]
    try:
        done = subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
