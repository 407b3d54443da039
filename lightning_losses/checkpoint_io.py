"""Checkpoints that a kill cannot spoil: written beside the old one, synced, renamed; the one replaced is kept."""

import os
import zipfile
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

SHARDS = ".metadata"
"""In the folder of a checkpoint in shards, the list of its parts, which is written last."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint whole or not at all, and reads the previous one where a file is damaged.

    A checkpoint is written to a temporary name in the same folder, synced to the disk and renamed, and the folder is
    synced: at every moment a reader finds the old file or the new one, whole. Lightning's own writer goes through a
    temporary file of fsspec, which may lie on another file system; it is then copied, not renamed, and never synced.
    Nor is the whole checkpoint held in memory a second time.

    A file that is replaced stays as `<name>.previous.ckpt`, a hard link where the file system has them. So each name
    that is written again and again, like ``last.ckpt``, takes twice its size on disk, and three times while it is
    written. What a killed writer has left of a name goes with the next checkpoint of that name.

    A file that cannot be read and is no whole archive is refused with a warning that names it, and its previous version
    is read; without one, the newest complete checkpoint of the folder. The check costs nothing before something fails:
    a truncated archive has lost the list of its parts, which is at the end. Damage inside a part is found only if
    reading fails.

    Paths of remote file systems, such as ``s3://bucket/last.ckpt``, are left to Lightning.

    >>> from tempfile import TemporaryDirectory
    >>> io, folder = AtomicCheckpointIO(), TemporaryDirectory()
    >>> for step in (100, 200):
    ...     io.save_checkpoint({"step": step, "optimizer_states": []}, f"{folder.name}/last.ckpt")
    >>> sorted(file.name for file in Path(folder.name).iterdir())
    ['last.ckpt', 'last.previous.ckpt']
    >>> io.load_checkpoint(f"{folder.name}/last.previous.ckpt")["step"]
    100
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path`, whole or not at all.

        Raises:
            OSError: the disk is full, or writing fails otherwise; the old file is as it was.
        """
        if storage_options is not None or _is_remote(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        for leftover in file.parent.glob(f".{escape(file.name)}.*.part"):
            leftover.unlink(missing_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as stream:
                _save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            _keep(file)
            part.replace(file)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync(file.parent)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """The checkpoint at `path`; if it is damaged, the previous one, with a warning.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, and no other of its folder can be read; or it is a folder of shards.
        """
        if not _is_remote(path) and Path(path).is_dir():
            raise ValueError(
                f"The checkpoint {path} is a folder of shards, which only the strategy that has written it loads. Keep "
                "trainer.strategy, or make one file of it by lightning_losses.sharded_strategy.consolidate."
            )
        try:
            return super().load_checkpoint(path, map_location, weights_only)
        except Exception as error:
            reason = None if _is_remote(path) else damage(Path(path))
            if reason is None:  # it is whole, and refused for another reason
                raise
            failed = error
        for other in alternatives(Path(path)):
            try:
                checkpoint = super().load_checkpoint(other, map_location, weights_only)
            except Exception:
                continue
            if "optimizer_states" in checkpoint:  # else it holds weights alone, from which no run can be resumed
                rank_zero_warn(
                    f"The checkpoint {path} is damaged: {reason}. The previous one, {other}, is used instead."
                )
                return checkpoint
        raise ValueError(
            f"A checkpoint must be a whole archive of torch.save, and {path} is damaged: {reason}. "
            "There is no other checkpoint in its folder that could be used instead."
        ) from failed

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file and the previous version of it."""
        super().remove_checkpoint(path)
        if not _is_remote(path):
            previous(Path(path)).unlink(missing_ok=True)


def previous(file: Path) -> Path:
    """The name under which the file that `file` replaced is kept.

    >>> previous(Path("last.ckpt")).name
    'last.previous.ckpt'
    """
    return file.with_name(f"{file.stem}.previous{file.suffix}")


def is_whole(file: Path) -> bool:
    """Whether `file` is an archive with its end, or a folder of shards with its list: read in no time at any size."""
    return zipfile.is_zipfile(file) or (file / SHARDS).is_file()


def damage(file: Path) -> str | None:
    """What is wrong with an existing file; None if it is an archive that is whole to the last byte.

    It reads the whole file: call it when something has failed.
    """
    if not file.is_file():
        return None
    if not is_whole(file):
        size = file.stat().st_size
        return f"its {size} bytes lack the end of the archive" if size else "it is empty"
    try:
        with zipfile.ZipFile(file) as archive:
            part = archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)
    return None if part is None else f"the checksum of {part} in it is wrong"


def alternatives(file: Path) -> list[Path]:
    """The other whole checkpoints of the folder: first the previous version of `file`, then from new to old."""
    others = [other for other in file.parent.glob(f"*{escape(file.suffix)}") if other != file and is_whole(other)]
    return sorted(others, key=lambda other: (other != previous(file), -other.stat().st_mtime))


def _save(checkpoint: dict[str, Any], stream: IO[bytes]) -> None:
    try:
        torch.save(checkpoint, stream)
    except RuntimeError as error:  # torch complains of the half file, and hides what has cut it short
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _is_remote(path: str | Path) -> bool:
    return "://" in str(path)


def _keep(file: Path) -> None:
    """Let the file that is about to be replaced live on as its previous version."""
    if not is_whole(file):  # there is none, or it is damaged: then the one before it is worth more
        return
    kept = previous(file)
    kept.unlink(missing_ok=True)
    try:
        kept.hardlink_to(file)
    except OSError:  # the file system has no hard links
        file.replace(kept)


def sync(folder: Path) -> None:
    """Make the renaming last through a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
