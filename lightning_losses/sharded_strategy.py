"""FSDP2 over all processes, with checkpoints in shards that a kill cannot spoil."""

import shutil
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.constants import default_pg_timeout

from lightning_losses.checkpoint_io import SHARDS, AtomicCheckpointIO, is_whole, previous, sync
from lightning_losses.checks import message
from lightning_losses.extra_states import make_room

REST = "meta.pt"
"""In the folder of a checkpoint, what Lightning keeps beside weights and states of optimizers."""


class FullyShardedStrategy(ModelParallelStrategy):
    """Lightning's `ModelParallelStrategy` with all processes in its data-parallel dimension, and safe checkpoints.

    What the model shards by `fully_shard` in `configure_model` lies on all processes of all nodes in equal parts.

    Every process writes its own part of a checkpoint, which is a folder. Lightning writes into the folder of that name
    that is there already, so that a kill leaves one that is half old, half new. Here the folder is written beside it
    and renamed when it is complete; the one that it replaces stays as ``<name>.previous.ckpt``. `consolidate` makes one
    file of a folder. ModelParallelStrategy's checkpoints of a single file are left out: read again under FSDP2 they
    lose what modules keep as extra state, such as the steps of a `LossModule`.

    Args:
        process_group_backend: of torch.distributed; None for the one that fits the devices.
        timeout: how long processes wait for each other.
    """

    def __init__(
        self, process_group_backend: str | None = None, timeout: timedelta | None = default_pg_timeout
    ) -> None:
        super().__init__(tensor_parallel_size=1, process_group_backend=process_group_backend, timeout=timeout)

    def setup_environment(self) -> None:
        """Count the processes."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the parts of all ranks to the folder `filepath`, whole or not at all.

        Raises:
            Exception: the disk of a rank is full, or writing fails otherwise; the old folder is as it was.
        """
        path = Path(self.broadcast(filepath))
        part = path.with_name(f".{path.name}.part")
        if self.is_global_zero:
            _remove(part)
        self.barrier()
        try:
            super().save_checkpoint(checkpoint, part, storage_options)
        except BaseException:
            if self.is_global_zero:
                _remove(part)
            raise
        self.barrier()
        if self.is_global_zero:
            _put_in_place(part, path)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the parts into the model and its optimizers, and return the rest."""
        path = Path(self.broadcast(checkpoint_path))
        if (path / SHARDS).is_file():
            assert self.model is not None
            make_room(self.model, path, self.device_mesh["data_parallel"])
        return super().load_checkpoint(path, weights_only)

    def remove_checkpoint(self, filepath: str | Path) -> None:
        """Delete the folder and the previous version of it."""
        if self.is_global_zero:
            for path in (Path(filepath), previous(Path(filepath))):
                _remove(path)


def consolidate(folder: str | Path, file: str | Path) -> None:
    """Make of a checkpoint in shards one file, from which a process alone can load and test the model.

    The states of optimizers are left out: no training goes on from it.

    Args:
        folder: the checkpoint.
        file: where the new one goes, whole or not at all.

    Raises:
        ValueError: `folder` is none.
    """
    source, target = Path(folder), Path(file)
    if not (source / SHARDS).is_file():
        raise ValueError(message("folder", "a checkpoint in shards", str(folder)))
    with TemporaryDirectory(dir=target.parent) as place:
        whole = Path(place, "whole.pt")
        dcp_to_torch_save(source, whole)
        weights = torch.load(whole, weights_only=True)["state_dict"]
    checkpoint = torch.load(source / REST, weights_only=True)
    AtomicCheckpointIO().save_checkpoint({**checkpoint, "state_dict": weights}, target)


def _put_in_place(part: Path, path: Path) -> None:
    """Between the two renamings there is only the previous version, from which a run is resumed too."""
    if is_whole(path):
        _remove(previous(path))
        path.replace(previous(path))
    else:
        _remove(path)
    part.replace(path)
    sync(path.parent)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
