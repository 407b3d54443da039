"""Counting what processes send in trainings."""

import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
import torch.multiprocessing as mp
from _collectives import Message, beyond, messages, record
from _scaling_cases import BATCH, CASES, INPUTS, PLAIN, PLAIN_SHARDED, Case, Sizes
from _scaling_network import Network
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch.utils.data import DataLoader

FIRST, STEPS = 2, 2  # DDP arranges its buckets in the first two steps
SOON = timedelta(minutes=5)
Steps = list[list[Message]]


class Count(Callback):
    """The messages of every step, from the start of its batch to that of the next."""

    def __init__(self) -> None:
        self.marks: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: object) -> None:
        """A step begins."""
        self.marks.append(len(messages()))

    def steps(self) -> Steps:
        """Without the first."""
        every = messages()
        return [every[a:b] for a, b in zip(self.marks[FIRST:], self.marks[FIRST + 1 :], strict=False)]


def count(case: Case | None, is_sharded: bool, ranks: int) -> Steps:
    """What one rank sends in the steps of a training; None for one by the strategy alone."""
    counting = Count()
    callbacks = [counting] if case is None or case.monitor is None else [counting, case.monitor()]
    sharding = ModelParallelStrategy(data_parallel_size=ranks, tensor_parallel_size=1, timeout=SOON)
    trainer = Trainer(
        accelerator="cpu", devices=ranks, strategy=sharding if is_sharded else DDPStrategy(timeout=SOON),
        max_steps=FIRST + STEPS + 1, callbacks=callbacks, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, log_every_n_steps=1,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(trainer.global_rank)
    batches = [torch.randn(BATCH, INPUTS, generator=generator) for _ in range(FIRST + STEPS + 1)]
    trainer.fit(Network(case), DataLoader(batches, batch_size=None))
    return counting.steps()


def work(rank: int, ranks: int, port: int, folder: str) -> None:
    """All trainings on one rank."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    record()
    found = {PLAIN: count(None, False, ranks), PLAIN_SHARDED: count(None, True, ranks)}
    found |= {name: count(case, case.is_sharded, ranks) for name, case in CASES.items()}
    torch.save(found, f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


def counted(ranks: int) -> dict[str, Steps]:
    """What a rank sends in every training.

    Raises:
        RuntimeError: another rank sends something else.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        # Forked, so that the imports are paid for once; nothing has started a thread here yet.
        mp.start_processes(work, args=(ranks, port, folder), nprocs=ranks, start_method="fork")
        of_ranks = [torch.load(Path(folder, f"rank{rank}.pt"), weights_only=False) for rank in range(ranks)]
    found: dict[str, Steps] = of_ranks[0]
    if differing := [name for name in found if any(other[name] != found[name] for other in of_ranks)]:
        raise RuntimeError(f"Ranks differ in what they send: {differing}")
    return found


def extra(found: Mapping[str, Steps], name: str) -> Steps:
    """What a training sends in each step beyond the strategy alone; its own gradients count as the strategy's."""
    alone = found[PLAIN_SHARDED if CASES[name].is_sharded else PLAIN]
    learned = [Message("all_reduce", sizes(1).P + sizes(1).T, "Float")] if name == "Uncertainty" else []
    return [beyond(step, [*base, *learned]) for step, base in zip(found[name], alone, strict=True)]


def sizes(ranks: int) -> Sizes:
    """Of the model that is trained."""
    return Network(None).sizes(ranks)


def agrees(found: Steps, case: Case, ranks: int) -> bool:
    """Whether every step sends what the formula says, or under a monitor every second step and the others nothing."""

    def in_order(step: list[Message]) -> list[Message]:
        return sorted(message for message in step if not (case.searches and message.numbers == 1))

    expected, measured = in_order(case.messages(sizes(ranks))), [in_order(step) for step in found]
    if case.monitor:
        measured = [step for step in measured if step]
    return measured == (len(found) // 2 if case.monitor else len(found)) * [expected]
