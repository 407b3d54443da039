"""What becomes of a training whose job is taken away?

Jobs of two nodes train a small network (dropout, GradNorm, Adam, two batches a step, validation) on a SLURM cluster
that is started on this machine. Each loses its job once in the second of three epochs, with PreemptionCheckpoint and
ResumableCheckpoint every four steps, and with what Lightning does without them, which keeps the last checkpoint of an
epoch. Whoever has not finished by itself is submitted once more. In the end weights, optimizer and step are compared
with those of two processes that nobody interrupted. Target: with our callbacks, no difference; and nobody has to submit
again what was not cancelled.
"""

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from _common import arguments, publish, table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from cluster import jobs, processes, training
from cluster.slurm import Cluster, why_not

COLUMNS = ("the job is", "callbacks", "SLURM says", "queued again", "ends by itself", "batches lost", "same bits")


@dataclass
class Outcome:
    """What became of a job.

    Args:
        event: what happened to it.
        is_ours: whether it had our callbacks.
        state: in which it ended, in SLURM's words.
        restarts: how often it was queued again.
        ended: whether it trained to its end by itself.
        lost: batches that were computed more than once; those of all submissions, if it had to be submitted again.
        is_equal: whether it ended with the bits of an undisturbed training.
    """

    event: str
    is_ours: bool
    state: str
    restarts: int
    ended: bool
    lost: int
    is_equal: bool

    def row(self) -> Sequence[object]:
        """A row of the table."""
        words = [{True: "yes", False: "no"}[flag] for flag in (self.ended, self.is_equal)]
        callbacks = "ours" if self.is_ours else "none"
        return self.event, callbacks, self.state, self.restarts, words[0], self.lost, words[1]


def suffer(cluster: Cluster, name: str, *, ours: bool, undisturbed: Path, root: Path) -> Outcome:
    """Let something happen to a job, and see what becomes of it."""
    root.mkdir()
    event, run = jobs.EVENTS[name], root / "run"
    script = jobs.write_script(root, pace=event.pace, ours=ours)
    job = cluster.submit(script, *event.options)
    jobs.in_the_middle(root)
    event.act(cluster, job)
    end = cluster.wait(job)
    ended = (run / "final.pt").exists()
    if not ended:
        cluster.wait(cluster.submit(jobs.write_script(root, pace=0, ours=ours)))
    lines = (run / "progress-0.txt").read_text().splitlines()
    batches = sum(line.startswith("batch") for line in lines) - training.EPOCHS * training.BATCHES
    return Outcome(name, ours, end["JobState"], int(end["Restarts"]), ended, batches, is_equal(run, undisturbed))


def is_equal(run: Path, undisturbed: Path) -> bool:
    """Whether weights, optimizer and step have the same bits."""
    if not (run / "final.pt").exists():
        return False
    try:
        processes.assert_equal(run, undisturbed)
    except AssertionError:
        return False
    return True


def experiment(clusters: Sequence[Cluster], home: Path, repeats: int) -> list[Outcome]:
    """What became of all jobs. Those that wait for their time to be over do so on the second cluster, meanwhile."""
    undisturbed = home / "undisturbed"
    processes.start(undisturbed, ranks=2).codes()

    def work(cluster: Cluster, names: Sequence[str]) -> list[Outcome]:
        return [
            suffer(cluster, name, ours=ours, undisturbed=undisturbed, root=home / f"{name} {ours} {turn}")
            for name in names
            for ours in (True, False)
            for turn in range(repeats)
        ]

    short = [name for name, event in jobs.EVENTS.items() if event.pace == jobs.PACE]
    long = [name for name in jobs.EVENTS if name not in short]
    with ThreadPoolExecutor() as pool:
        return [outcome for part in pool.map(work, clusters, (short, long)) for outcome in part]


def main() -> None:
    options = arguments(__doc__, repeats=1)
    if (reason := why_not()) is not None:
        sys.exit(reason)
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory() as home,
        Cluster(Path(home, "first")) as first,
        Cluster(Path(home, "second")) as second,
    ):
        outcomes = experiment((first, second), Path(home), options.repeats)
        slurm = first.call("sinfo", "--version")
    ours = [outcome for outcome in outcomes if outcome.is_ours]
    same = sum(outcome.is_equal for outcome in ours)
    alone = sum(outcome.ended for outcome in ours)
    text = (
        f"{table(COLUMNS, [outcome.row() for outcome in outcomes])}\n\n"
        f"Of {training.EPOCHS * training.BATCHES} batches; what did not end by itself was submitted again. With our "
        f"callbacks {same} of {len(ours)} end with the bits of an undisturbed training, {alone} of them by themselves. "
        f"{slurm}."
    )
    publish(
        options.output,
        "What becomes of a training whose job is taken away?",
        text,
        {"slurm": slurm, "outcomes": [asdict(outcome) for outcome in outcomes]},
    )


if __name__ == "__main__":
    main()
