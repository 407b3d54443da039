"""Jobs in SLURM's queue, and which of them trains in which directory."""

from collections.abc import Sequence
from pathlib import Path

from lightning_losses.config import ConfigError
from lightning_losses.launch import tools

RECORD = "slurm-job"
"""The file of a run directory that holds the id of the job that was last submitted for it."""


def check(script: str) -> None:
    """Let SLURM say whether it could ever run `script`; nothing is queued.

    Raises:
        ConfigError: it could not.
    """
    tools.call(["sbatch", "--test-only"], script)


def submit(script: Path, tasks: Sequence[int] = ()) -> str:
    """Queue the script in a file, or only some tasks of its array; the job's id."""
    array = [f"--array={','.join(map(str, tasks))}"] if tasks else []
    return tools.call(["sbatch", "--parsable", *array, str(script)]).strip().partition(";")[0]


def write(script: Path, text: str) -> None:
    """Write the script of a job; one that was there and differs, because a person edited it, is kept beside it."""
    script.parent.mkdir(parents=True, exist_ok=True)
    if script.exists() and script.read_text(encoding="utf-8") != text:
        script.replace(script.with_name(f"{script.stem}.previous{script.suffix}"))
    script.write_text(text, encoding="utf-8")


def record(directory: Path, job: str) -> None:
    """Remember that `job` trains in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RECORD).write_text(f"{job}\n", encoding="utf-8")


def recorded(directory: Path) -> str | None:
    """The job that was last submitted for `directory`."""
    file = directory / RECORD
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def queued() -> dict[str, str]:
    """The state of each of the user's jobs that waits or runs, by its id; tasks of arrays are 12_0, 12_1, ..."""
    lines = tools.call(["squeue", "--me", "-h", "-r", "-o", "%i|%T"]).split()
    return {job: state.lower() for job, state in (line.split("|") for line in lines)}


def check_free(directory: Path) -> None:
    """No job may be training in `directory`: two would write the same checkpoints.

    Raises:
        ConfigError: the message names the job.
    """
    job = recorded(directory)
    state = queued().get(job) if job else None
    if state:
        raise ConfigError(f"Job {job}, which is {state}, trains in {directory} already: wait for it, or scancel {job}")
