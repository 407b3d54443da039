"""Two processes that train one cell after another; importing torch takes them longer than a hundred cells."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.multiprocessing as mp

from parity.cells import Cell
from parity.training import Record, train

RANKS = 2


def train_on_ranks(cells: Sequence[Cell], folder: Path) -> dict[Cell, list[Record | Exception]]:
    """What each rank recorded, or why it refused."""
    if not cells:
        return {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_train_all, args=(list(cells), str(folder), port), nprocs=RANKS)
    of_ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(RANKS)]
    return {cell: [found[cell] for found in of_ranks] for cell in cells}


def train_or_refuse(cell: Cell, rank: int, folder: Path) -> Record | Exception:
    """The record of a training, or the error it ended with."""
    try:
        return train(cell, rank, folder)
    except Exception as error:
        return error.with_traceback(None)


def _train_all(rank: int, cells: Sequence[Cell], folder: str, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    found = {cell: train_or_refuse(cell, rank, Path(folder)) for cell in cells}
    torch.save(found, f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()
