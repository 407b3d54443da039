"""Trainings in processes that are forked from one in which everything is imported already."""

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

from cluster import training

SECONDS = 400  # for what takes a second or two on a quiet machine
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["lightning.pytorch", "lightning_losses.callbacks", "lightning_losses.checkpoint_io", "sklearn.datasets"]
)


@dataclass
class Training:
    """A training that runs.

    Args:
        folder: of its files.
        ranks: its processes.
    """

    folder: Path
    ranks: list[ForkServerProcess]

    def wait_for(self, text: str, rank: int = 0) -> None:
        """Until a rank has written a line."""
        wait_for_line(self.folder / f"progress-{rank}.txt", text, lambda: self.ranks[rank].is_alive())

    def send(self, *signals: signal.Signals, rank: int = 0) -> None:
        """Send signals to a rank."""
        for number in signals:
            os.kill(self.ranks[rank].pid, number)

    def codes(self) -> list[int]:
        """Wait for the end; the exit codes."""
        for process in self.ranks:
            process.join(SECONDS)
            if process.is_alive():
                process.kill()
        return [process.exitcode for process in self.ranks]

    def said(self) -> str:
        """What rank 0 printed."""
        return (self.folder / "output-0.txt").read_text()


def start(folder: Path, ranks: int = 1, **options) -> Training:
    """Train in `folder`, from the last checkpoint in it if there is one; the options are those of `fit`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    processes = [_context.Process(target=_train, args=(rank, ranks, port, folder, options)) for rank in range(ranks)]
    for process in processes:
        process.start()
    return Training(folder, processes)


def wait_for_line(file: Path, text: str, goes_on=lambda: True, seconds: float = SECONDS) -> None:
    """Until a line of a file is `text`."""
    deadline = time.monotonic() + seconds
    while not (file.exists() and text in file.read_text().splitlines()):
        assert time.monotonic() < deadline, f"{file} has no line {text!r}"
        assert goes_on(), f"The training ended before {text!r}"
        time.sleep(0.005)


def final(folder: Path) -> dict:
    """What the training has at its end."""
    return torch.load(folder / "final.pt", weights_only=True)


def assert_equal(folder: Path, expected: Path) -> None:
    """Two trainings end with the same bits."""
    torch.testing.assert_close(final(folder), final(expected), rtol=0, atol=0)


def _train(rank: int, ranks: int, port: int, folder: Path, options: dict) -> None:
    os.setsid()  # a group of its own: its workers can be signalled with it
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    elastic = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "GROUP_RANK": 0}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    if ranks > 1:
        os.environ.update({name: str(value) for name, value in (elastic | address).items()})
    output = os.open(folder / f"output-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    try:
        training.fit(folder, devices=ranks, **options)
    except Exception:
        traceback.print_exc()
        raise


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
