"""Batches of ranks that have to run their networks together."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from lightning_losses.checks import message
from lightning_losses.distributed import sum_over_ranks, world_size
from lightning_losses.fisher.predictor import is_empty


def in_step(batches: Iterable[tuple[Any, Any]], device: torch.device) -> Iterator[tuple[Any, Any, bool]]:
    """A rank's batches, each with whether it counts, until no rank has one left.

    What FSDP2 gathers it gathers on all ranks at once. So a rank that has none left is given its last one again, which
    does not count.

    Args:
        batches: pairs (inputs, targets); those without a sample are left out.
        device: on which the ranks exchange a number for each batch.

    Raises:
        ValueError: some ranks have a sample, and some have none; on all of them.
    """
    waiting = iter(batch for batch in batches if not is_empty(batch[0]))
    last: tuple[Any, Any] | None = None
    while True:
        batch = next(waiting, None)
        ranks = int(sum_over_ranks(torch.tensor(batch is not None, dtype=torch.float32, device=device)))
        if not ranks:
            return
        if last is None and ranks < world_size():
            rule = "at least one batch with a sample on every rank where FSDP2 shards the network"
            raise ValueError(message("batches", rule, f"none on {world_size() - ranks} of {world_size()} ranks"))
        last = batch or last
        assert last is not None
        yield *last, batch is not None
