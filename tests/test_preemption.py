"""A run that is asked to stop loses nothing, whenever and whichever of its processes the signal reaches."""

import os
from pathlib import Path
from signal import SIGTERM, SIGUSR1

import pytest
from cluster.processes import assert_equal, start

PACE = 0.02


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A training that nobody interrupts, with a number of ranks."""
    folders = {}

    def _undisturbed(ranks: int = 1) -> Path:
        if ranks not in folders:
            folders[ranks] = tmp_path_factory.mktemp("undisturbed")
            training = start(folders[ranks], ranks)
            assert training.codes() == [0] * ranks, training.said()
        return folders[ranks]

    return _undisturbed


MOMENTS = {
    "in an epoch": ("batch 4", [SIGUSR1]),
    "in validation": ("validation 1", [SIGTERM]),
    "while a checkpoint is written": ("write 4", [SIGUSR1]),
    "several signals": ("batch 14", [SIGTERM, SIGUSR1, SIGTERM]),
}


@pytest.mark.parametrize(
    ("ranks", "moment"),
    [
        *((1, moment) for moment in MOMENTS),
        *((2, moment) for moment in ("in an epoch", "in validation")),
        *(pytest.param(2, moment, marks=pytest.mark.slow) for moment in list(MOMENTS)[2:]),
    ],
)
def test_a_stopped_and_resumed_training_is_equal_to_the_bit(undisturbed, tmp_path, ranks, moment):
    """Of two ranks, only the last one is signalled: as if the signal had reached one node alone."""
    expected, (line, signals) = undisturbed(ranks), MOMENTS[moment]
    training = start(tmp_path, ranks, pace=PACE)
    training.wait_for(line)
    training.send(*signals, rank=ranks - 1)
    by = SIGUSR1 if SIGUSR1 in signals else SIGTERM
    assert training.codes() == [128 + by, 0][:ranks], training.said()
    assert not (tmp_path / "final.pt").exists()
    assert f"Stopped by {by.name} at step " in training.said()
    assert f", saved in {tmp_path / 'last.ckpt'}. Run the same command to resume.\n" in training.said()
    again = start(tmp_path, ranks)
    assert again.codes() == [0] * ranks, again.said()
    assert_equal(tmp_path, expected)


def test_workers_that_get_the_signal_as_well_go_on(undisturbed, tmp_path):
    """SLURM sends it to all processes of a job."""
    expected = undisturbed()
    training = start(tmp_path, pace=PACE, workers=2)
    training.wait_for("batch 4")
    os.killpg(training.ranks[0].pid, SIGTERM)
    assert training.codes() == [128 + SIGTERM], training.said()
    assert f", saved in {tmp_path / 'last.ckpt'}." in training.said()
    again = start(tmp_path, workers=2)
    assert again.codes() == [0], again.said()
    assert_equal(tmp_path, expected)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_full_disk_leaves_the_checkpoint_before(undisturbed, tmp_path, ranks):
    """Ten kilobytes are room for no checkpoint, but for the lines that say where the training is."""
    expected = undisturbed(ranks)
    training = start(tmp_path, ranks, pace=PACE, full_from=8)
    training.wait_for("batch 8")
    training.send(SIGUSR1)
    assert training.codes() == [128 + SIGUSR1, 0][:ranks], training.said()
    assert f"with {tmp_path / 'last.ckpt'} as it was, because it cannot be written: File too large." in training.said()
    again = start(tmp_path, ranks)
    assert again.codes() == [0] * ranks, again.said()
    assert_equal(tmp_path, expected)
