"""A checkpoint is whole or not there, and a damaged one is refused in favour of the previous one."""

import os
import re
import signal
from pathlib import Path

import fsspec
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_losses.checkpoint_io import AtomicCheckpointIO, alternatives, damage, is_whole


def checkpoint(step):
    return {"step": step, "weight": torch.full((1000,), float(step)), "optimizer_states": []}


@pytest.fixture
def io():
    return AtomicCheckpointIO()


@pytest.fixture
def last(tmp_path, io):
    """The second of two checkpoints of one name."""
    path = tmp_path / "last.ckpt"
    io.save_checkpoint(checkpoint(1), path)
    io.save_checkpoint(checkpoint(2), path)
    return path


def names(folder):
    return sorted(file.name for file in folder.iterdir())


class TestSaving:
    def test_the_file_replaced_is_kept_and_only_that(self, io, last):
        io.save_checkpoint(checkpoint(3), last)
        assert names(last.parent) == ["last.ckpt", "last.previous.ckpt"]
        assert io.load_checkpoint(last)["step"] == 3
        assert io.load_checkpoint(last.with_name("last.previous.ckpt"))["step"] == 2

    def test_a_damaged_file_is_not_kept(self, io, last):
        os.truncate(last, 100)
        io.save_checkpoint(checkpoint(3), last)
        assert io.load_checkpoint(last.with_name("last.previous.ckpt"))["step"] == 1

    @pytest.mark.parametrize("where", ["save", "fsync", "replace"])
    def test_whatever_fails_on_the_way_leaves_the_old_file(self, io, last, monkeypatch, where):
        def fail(*_):
            raise OSError("No space left on device")

        target, name = {
            "save": (torch, "save"),
            "fsync": (os, "fsync"),
            "replace": (Path, "replace"),
        }[where]
        with monkeypatch.context() as patch:
            patch.setattr(target, name, fail)
            with pytest.raises(OSError, match="No space left"):
                io.save_checkpoint(checkpoint(3), last)
        assert io.load_checkpoint(last)["step"] == 2
        assert names(last.parent) == ["last.ckpt", "last.previous.ckpt"]

    @pytest.mark.parametrize("where", ["write", "sync", "link", "rename"])
    def test_a_process_that_dies_on_the_way_leaves_the_old_file(self, io, last, where):
        """It dies in the middle of the write, or at one of the calls between it and the new name."""
        process = os.fork()
        if process == 0:
            try:
                die_at(where)
                io.save_checkpoint(checkpoint(3), last)
            finally:
                os._exit(0)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL
        assert io.load_checkpoint(last)["step"] == 2
        assert len([name for name in names(last.parent) if name.endswith(".part")]) == 1
        io.save_checkpoint(checkpoint(3), last)
        assert names(last.parent) == ["last.ckpt", "last.previous.ckpt"]

    def test_a_file_system_without_hard_links_keeps_the_file_too(self, io, last, monkeypatch):
        def refuse(*_):
            raise OSError("Operation not supported")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        io.save_checkpoint(checkpoint(3), last)
        steps = [io.load_checkpoint(last.with_name(name))["step"] for name in names(last.parent)]
        assert steps == [3, 2]

    def test_a_leftover_of_another_name_may_be_written_at_the_moment(self, io, last):
        other = last.with_name(".best.ckpt.1.part")
        other.touch()
        io.save_checkpoint(checkpoint(3), last)
        assert other.exists()

    def test_everybody_may_read_it_who_may_read_other_files(self, last):
        plain = last.with_name("plain")
        plain.touch()
        assert last.stat().st_mode == plain.stat().st_mode

    def test_removing_takes_the_previous_version_along(self, io, last):
        io.remove_checkpoint(last)
        assert names(last.parent) == []

    def test_a_remote_path_is_left_to_lightning(self, io):
        url = "memory://run/checkpoints/last.ckpt"
        io.save_checkpoint(checkpoint(1), url)
        io.save_checkpoint(checkpoint(2), url)
        assert fsspec.filesystem("memory").ls("/run/checkpoints", detail=False) == ["/run/checkpoints/last.ckpt"]
        assert io.load_checkpoint(url)["step"] == 2
        io.remove_checkpoint(url)
        assert not fsspec.filesystem("memory").exists(url)


def die_at(where):
    """Let this process be killed during its next checkpoint."""

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def half(_, stream):
        stream.write(b"half a checkpoint")
        stream.flush()
        die()

    target, name, deadly = {
        "write": (torch, "save", half),
        "sync": (os, "fsync", die),
        "link": (Path, "hardlink_to", die),
        "rename": (Path, "replace", die),
    }[where]
    setattr(target, name, deadly)


def truncate(file, share):
    os.truncate(file, int(share * file.stat().st_size))


DAMAGE = {
    "empty": (lambda file: os.truncate(file, 0), "it is empty"),
    "one byte": (lambda file: os.truncate(file, 1), "its 1 bytes lack the end of the archive"),
    "half": (lambda file: truncate(file, 0.5), "lack the end of the archive"),
    "nearly all": (lambda file: truncate(file, 0.99), "lack the end of the archive"),
    "all but a byte": (lambda file: os.truncate(file, file.stat().st_size - 1), "lack the end of the archive"),
    "garbage": (lambda file: file.write_bytes(bytes(range(256)) * 20), "its 5120 bytes lack the end of the archive"),
}


class TestLoading:
    @pytest.mark.parametrize("how", DAMAGE)
    def test_a_damaged_file_is_replaced_by_the_previous_one(self, io, last, how):
        spoil, reason = DAMAGE[how]
        spoil(last)
        warning = (
            rf"The checkpoint .*last.ckpt is damaged: .*{reason}. The previous one, .*last.previous.ckpt, is used."
        )
        with pytest.warns(UserWarning, match=warning):
            assert io.load_checkpoint(last)["step"] == 1

    @pytest.mark.parametrize("how", DAMAGE)
    def test_without_another_one_it_is_an_error(self, io, tmp_path, how):
        spoil, reason = DAMAGE[how]
        alone = tmp_path / "last.ckpt"
        io.save_checkpoint(checkpoint(1), alone)
        spoil(alone)
        rule = f"A checkpoint must be a whole archive of torch.save, and {re.escape(str(alone))} is damaged: "
        with pytest.raises(ValueError, match=f"{rule}.*{reason}. There is no other"):
            io.load_checkpoint(alone)

    def test_a_hole_in_the_middle_is_found_when_reading_fails(self, io, last):
        content = last.read_bytes()
        at = content.index(b"data.pkl")
        last.write_bytes(content[:at] + bytes(400) + content[at + 400 :])
        with pytest.warns(UserWarning, match="last.ckpt is damaged: .*data.pkl"):
            assert io.load_checkpoint(last)["step"] == 1

    def test_the_newest_of_the_others_is_next(self, io, last):
        for step, name in enumerate(["old.ckpt", "new.ckpt", "truncated.ckpt", "weights.ckpt"], start=3):
            file = last.with_name(name)
            io.save_checkpoint(checkpoint(step), file)
            os.utime(file, (step, step))
        os.truncate(last.with_name("truncated.ckpt"), 100)
        torch.save({"weight": torch.zeros(1)}, last.with_name("weights.ckpt"))
        order = [file.name for file in alternatives(last)]
        assert order == ["last.previous.ckpt", "weights.ckpt", "new.ckpt", "old.ckpt"]
        last.with_name("last.previous.ckpt").unlink()
        os.truncate(last, 100)
        with pytest.warns(UserWarning, match=r"new\.ckpt, is used"):
            assert io.load_checkpoint(last)["step"] == 4

    def test_a_whole_file_that_is_refused_is_no_damage(self, io, last):
        torch.save({"object": io}, last)
        with pytest.raises(Exception, match="AtomicCheckpointIO"):
            io.load_checkpoint(last, weights_only=True)

    def test_a_missing_file_is_missing(self, io, last):
        with pytest.raises(FileNotFoundError, match="no.ckpt"):
            io.load_checkpoint(last.with_name("no.ckpt"))

    def test_a_whole_file_has_no_damage(self, last):
        assert is_whole(last)
        assert damage(last) is None


def test_model_checkpoint_keeps_its_books(tmp_path):
    """The best two, the last one and its previous version are left; no other file."""
    savers = {"dirpath": tmp_path, "filename": "{step}", "monitor": "step", "mode": "max", "save_top_k": 2}
    saver = ModelCheckpoint(**savers, every_n_train_steps=2, save_last=True)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=10,
        limit_val_batches=0,
        accelerator="cpu",
        callbacks=[saver],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(BoringModel())
    assert names(tmp_path) == ["last.ckpt", "last.previous.ckpt", "step=10.ckpt", "step=8.ckpt"]
    assert saver.best_model_path == str(tmp_path / "step=10.ckpt")
