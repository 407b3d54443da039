"""The state of the random number generators, kept in every checkpoint and put back where a resumed run goes on."""

import random
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

Generators = dict[str, Any]
"""The states of one process's generators, as plain numbers, tuples and CPU tensors."""


def get_generators() -> Generators:
    """The states of the global generators of Python, NumPy, torch and, where this process uses it, the CUDA device.

    >>> state = get_generators()
    >>> first = torch.rand(2)
    >>> set_generators(state)
    >>> torch.equal(first, torch.rand(2))
    True
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if _uses_cuda() else None,
    }


def set_generators(state: Generators) -> None:
    """Put back what `get_generators` returned; a CUDA state only where this process uses CUDA."""
    name, keys, *rest = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and _uses_cuda():
        torch.cuda.set_rng_state(state["cuda"])


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


class RandomState(Callback):
    """Keeps the random number generators of all processes in the checkpoint, so that a resumed run draws on.

    Lightning seeds a resumed run as if it began: its first dropout masks would be those of step 0. With this callback
    they are those that the stopped run would have drawn, on every rank. Python's, NumPy's and torch's global
    generators are kept, and that of the CUDA device of each rank.

    States are put back when training starts, after the data loaders were made. That alone would not do for two kinds of
    loaders, since `iter()` of a `DataLoader` draws a seed for its workers. At the start of an epoch the iterator that
    Lightning has made too early is made again. In the middle of an epoch, where the stopped run's iterator had drawn
    long ago, the states are put back once more at the first batch.

    What validation draws is taken back after it, because Lightning leaves out the validation that was due behind the
    batch at whose end a checkpoint was written.

    What cannot be put back: the numbers that a data set draws from the global generators while an epoch runs, in the
    main process ahead of the step or in workers. Let it draw by (seed, epoch, index), as
    `lightning_losses.recipes.sampling` does. A loader that itself draws from the global generators, like
    ``DataLoader(shuffle=True)``, resumes exactly from checkpoints written at the end of an epoch.

    With another number of processes than the checkpoint's, those that it knows go on and a warning names the others.
    `state_dict` gathers from all processes: all must call it, as Lightning does.

    >>> callback = RandomState()
    >>> sorted(callback.state_dict()["ranks"][0])
    ['cuda', 'numpy', 'python', 'torch']
    """

    def __init__(self) -> None:
        self._saved: list[Generators] = []  # by rank; empty but between a resumed start and its first batch
        self._after_batch: Generators | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states of the generators of all ranks."""
        own = get_generators()
        if not (dist.is_available() and dist.is_initialized()):
            return {"ranks": [own]}
        ranks: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(ranks, own)
        return {"ranks": ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the states until training starts."""
        self._saved = state_dict["ranks"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the states of another run."""
        self._saved = []
        self._after_batch = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the states back."""
        if self._saved and len(self._saved) != trainer.world_size:
            fresh = ", ".join(map(str, range(len(self._saved), trainer.world_size)))
            rank_zero_warn(
                f"RandomState: the checkpoint holds the random generators of {len(self._saved)} processes, and this run"
                f" has {trainer.world_size}. It will differ from the stopped run"
                + (f", and rank {fresh} begins with its seed." if fresh else ".")
            )
        self._restore(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the loader of a run that is resumed between two epochs draw from the states put back."""
        if self._saved and trainer.fit_loop.is_resuming and trainer.fit_loop._data_fetcher is not None:
            iter(trainer.fit_loop._data_fetcher)
        self._saved = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Put the states back again, behind what the loader of a run resumed inside an epoch has drawn."""
        self._restore(trainer)
        self._saved = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the states, in case that validation follows: its loader draws before `on_validation_start`."""
        self._after_batch = get_generators() if trainer.enable_validation else None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take back what validation has drawn."""
        if self._after_batch is not None:
            set_generators(self._after_batch)

    def _restore(self, trainer: Trainer) -> None:
        if trainer.global_rank < len(self._saved):
            set_generators(self._saved[trainer.global_rank])
