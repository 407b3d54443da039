"""Run commands on this machine, one after the other."""

import os
import signal
import subprocess
from collections.abc import Sequence
from types import FrameType
from typing import Never

from lightning_losses.launch import sweep
from lightning_losses.launch.planning import Planned


def become(words: Sequence[str]) -> Never:
    """Run a command in the place of this process: signals and the exit code are then its own."""
    os.execv(words[0], list(words))


def run_all(runs: Sequence[Planned], commands: Sequence[Sequence[str]]) -> int:
    """Train one run after the other; finished ones are left out, and a failed one does not stop the others.

    Returns:
        1 if one failed, otherwise 0.
    """
    failed = 0
    for index, (run, words) in enumerate(zip(runs, commands, strict=True), start=1):
        title = f"Run {index} of {len(runs)}, {sweep.describe(run.values)}"
        if run.result():
            print(f"{title}: finished already", flush=True)
            continue
        print(f"{title}: {run.directory}", flush=True)
        code = call(words)
        if code in (128 + signal.SIGINT, -signal.SIGINT):
            raise KeyboardInterrupt
        if code != 0:
            failed = 1
            print(f"{title}: failed with exit code {code}", flush=True)
    return failed


def call(words: Sequence[str]) -> int:
    """The exit code of a command; when this process is told to end, the command ends first."""
    processes: list[subprocess.Popen[bytes]] = []
    stopped: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        for process in processes:
            process.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        processes.append(subprocess.Popen(words))
        if stopped:  # while the command was starting
            processes[0].terminate()
        code = processes[0].wait()
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
            process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if stopped:
        raise SystemExit(128 + stopped[0])
    return code
