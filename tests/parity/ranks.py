"""Two processes of one group; importing torch takes them longer than a hundred small trainings, so start them once."""

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

import torch
import torch.multiprocessing as mp

from parity.cells import Cell
from parity.training import Record, train

RANKS = 2


def on_ranks(work: Callable[[int, Path], Any], folder: Path) -> list[Any]:
    """What `work`, a function of a module, returns on each rank; it gets the rank and the folder."""
    mp.spawn(_work, args=(work, str(folder), _free_port()), nprocs=RANKS)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(RANKS)]


def train_on_ranks(cells: Sequence[Cell], folder: Path) -> dict[Cell, list[Record | Exception]]:
    """What each rank recorded, or why it refused."""
    if not cells:
        return {}
    of_ranks = on_ranks(partial(_train_all, list(cells)), folder)
    return {cell: [found[cell] for found in of_ranks] for cell in cells}


def train_or_refuse(cell: Cell, rank: int, folder: Path) -> Record | Exception:
    """The record of a training, or the error it ended with."""
    try:
        return train(cell, rank, folder)
    except Exception as error:
        return error.with_traceback(None)


def _free_port() -> int:
    """Below those that the system deals out: of these another process may get the same before the ranks listen."""
    while True:
        port = SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):  # nobody listens
                return port


def _train_all(cells: Sequence[Cell], rank: int, folder: Path) -> dict[Cell, Record | Exception]:
    return {cell: train_or_refuse(cell, rank, folder) for cell in cells}


def _work(rank: int, work: Callable[[int, Path], Any], folder: str, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.save(work(rank, Path(folder)), f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()
