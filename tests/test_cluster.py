"""Trainings on a real SLURM cluster of two nodes, taken away in all the ways that a cluster knows.

Started by tests/cluster/slurm.py. `python benchmarks/cluster.py` compares what becomes of them without our callbacks.
"""

from pathlib import Path

import pytest
from cluster.jobs import EVENTS, in_the_middle, output, write_script
from cluster.processes import assert_equal, start
from cluster.slurm import why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The training in processes of this machine, without SLURM."""
    folders = {}

    def _undisturbed(ranks: int) -> Path:
        if ranks not in folders:
            folders[ranks] = tmp_path_factory.mktemp("undisturbed")
            assert start(folders[ranks], ranks).codes() == [0] * ranks
        return folders[ranks]

    return _undisturbed


def test_a_preempted_job_of_two_nodes_is_queued_again_and_ends_as_two_processes_do(cluster, undisturbed, tmp_path):
    """It has workers, to whom SLURM sends the signal as well."""
    job = cluster.submit(write_script(tmp_path, options="--workers 1"))
    in_the_middle(tmp_path)
    cluster.preempt()
    end = cluster.wait(job)
    assert (end["JobState"], end["Restarts"]) == ("COMPLETED", "1"), output(tmp_path)
    assert f"saved in {tmp_path}/run/last.ckpt. Job {job} is queued again.\n" in output(tmp_path)
    assert "Stopped by SIGTERM at step " in output(tmp_path)
    assert_equal(tmp_path / "run", undisturbed(2))


def test_without_the_callback_it_is_completed_and_its_work_is_lost(cluster, tmp_path):
    """What Lightning does; when it does better, this class is not needed any more."""
    job = cluster.submit(write_script(tmp_path, nodes=1, ours=False))
    in_the_middle(tmp_path)
    cluster.preempt()
    end = cluster.wait(job)
    assert (end["JobState"], end["Restarts"], end["ExitCode"]) == ("COMPLETED", "0", "0:0"), output(tmp_path)
    assert not (tmp_path / "run" / "final.pt").exists()


def test_each_task_of_an_array_goes_on_with_its_own_run(cluster, undisturbed, tmp_path):
    script = write_script(tmp_path, nodes=1, folder="$SLURM_ARRAY_TASK_ID")
    array = cluster.submit(script, "--array=0-1")
    in_the_middle(tmp_path, "1")
    cluster.call("scancel", "--signal=USR1", f"{array}_1")
    ends = [cluster.wait(f"{array}_{task}") for task in range(2)]
    assert [(end["JobState"], end["Restarts"]) for end in ends] == [("COMPLETED", "0"), ("COMPLETED", "1")]
    assert f"Job {array}_1 is queued again.\n" in output(tmp_path)
    for task in range(2):
        assert_equal(tmp_path / str(task), undisturbed(1))


@pytest.mark.slow
@pytest.mark.parametrize("event", ["sent SIGUSR1", "out of time", "its first node dies", "its second node dies"])
def test_a_job_of_two_nodes_is_queued_again(cluster, undisturbed, tmp_path, event):
    """After a node's death from the last checkpoint, as nobody was told: the steps since then are computed again."""
    happens = EVENTS[event]
    job = cluster.submit(write_script(tmp_path, pace=happens.pace), *happens.options)
    in_the_middle(tmp_path)
    happens.act(cluster, job)
    end = cluster.wait(job)
    assert (end["JobState"], end["Restarts"]) == ("COMPLETED", "1"), output(tmp_path)
    assert ("Stopped by SIGUSR1 at step " in output(tmp_path)) == ("dies" not in event)
    assert_equal(tmp_path / "run", undisturbed(2))


@pytest.mark.slow
def test_a_cancelled_job_is_saved_but_not_queued_again(cluster, undisturbed, tmp_path):
    script = write_script(tmp_path)
    job = cluster.submit(script)
    in_the_middle(tmp_path)
    cluster.call("scancel", job)
    end = cluster.wait(job)
    assert (end["JobState"], end["Restarts"]) == ("CANCELLED", "0"), output(tmp_path)
    assert f"saved in {tmp_path}/run/last.ckpt. Job {job} is not queued again.\n" in output(tmp_path)
    assert cluster.wait(cluster.submit(script))["JobState"] == "COMPLETED", output(tmp_path)
    assert_equal(tmp_path / "run", undisturbed(2))
