"""What SLURM means by a signal, and how a job gets back into its queue."""

import os
import subprocess


def job_id() -> str | None:
    """The id of the job that this process belongs to, as `scontrol` takes it; None outside of SLURM."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def requeue(job: str) -> None:
    """Put a job back into the queue, which ends its processes.

    Raises:
        OSError: SLURM does not do it, with its reason.
    """
    _scontrol("requeue", job)


def is_preempted(job: str) -> bool:
    """Whether a job still runs, but has to make room for another one.

    SIGTERM alone does not say: it also comes before a job is cancelled, or ended at its time limit. Those are over
    for SLURM by then, whereas a preempted job is running for the time of grace of its partition.
    """
    fields = dict(word.partition("=")[::2] for word in _scontrol("show", "job", "--oneliner", job).split())
    since = fields.get("PreemptTime", "None")
    return fields.get("JobState") == "RUNNING" and since != "None" and since >= fields["StartTime"]


def _scontrol(*words: str) -> str:
    try:
        done = subprocess.run(["scontrol", *words], check=False, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise OSError("scontrol has not answered for a minute") from error
    if done.returncode:
        raise OSError(done.stderr.strip() or f"scontrol ended with {done.returncode}")
    return done.stdout
