"""Jobs that train, and what can happen to them."""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster import training
from cluster.processes import free_port, wait_for_line
from cluster.slurm import Cluster
from lightning_losses.launch import hold_signals

PACE = 0.4  # seconds for a batch, until the job is queued again: it must not end before it is interrupted
GIVEN_UP = 65  # seconds, from which on SLURM does not repeat itself
MIDDLE = "batch 13"  # of 33, in the second epoch
SCRIPT = """\
#!/bin/bash
#SBATCH --nodes={nodes} --ntasks-per-node=1 --output={output} --open-mode=append
export MASTER_ADDR=127.0.0.1 MASTER_PORT={port} GLOO_SOCKET_IFNAME=lo OMP_NUM_THREADS=1
pace={pace}
[ -n "$SLURM_RESTART_COUNT" ] && pace=0
srun --kill-on-bad-exit=1 {command} {folder} --nodes {nodes} --pace $pace {options}
"""


def write_script(
    root: Path, nodes: int = 2, options: str = "", folder: str = "run", pace: float = PACE, ours: bool = True
) -> Path:
    """A batch script whose job trains in root/run and prints to root/output.txt, perhaps with Lightning's handlers."""
    hold = [sys.executable, hold_signals.__file__] if ours else []
    command = [*hold, sys.executable, "-W", "ignore", training.__file__]
    text = SCRIPT.format(
        command=shlex.join(command),
        output=shlex.quote(str(root / "output.txt")),
        folder=f"{shlex.quote(str(root))}/{folder}",
        nodes=nodes,
        options=options if ours else f"{options} --lightning",
        pace=pace,
        port=free_port(),
    )
    script = root / "job.sh"
    script.write_text(text)
    return script


def output(root: Path) -> str:
    """What the job has printed."""
    return (root / "output.txt").read_text()


def in_the_middle(root: Path, folder: str = "run") -> None:
    """Until the job trains in its second epoch."""
    wait_for_line(root / folder / "progress-0.txt", MIDDLE)


def lose(cluster: Cluster, node: str) -> None:
    """Kill a node; another one takes its name when SLURM has missed it.

    After a minute SLURM repeats what a node did not hear. One that is back by then would be told to end the job, since a
    process of its first start has failed on the other node, and would end its second start.
    """
    cluster.kill_node(node)
    cluster.wait_for_node(node, "down")
    time.sleep(GIVEN_UP)
    cluster.start_node(node)


@dataclass(frozen=True)
class Event:
    """What happens to a job.

    Args:
        act: what to do in the middle of it.
        options: of sbatch.
        pace: seconds for a batch.
    """

    act: Callable[[Cluster, str], object]
    options: tuple[str, ...] = ()
    pace: float = PACE


EVENTS = {
    "preempted by a higher partition": Event(lambda cluster, job: cluster.preempt()),
    "sent SIGUSR1": Event(lambda cluster, job: cluster.call("scancel", "--signal=USR1", job)),
    # A signal may come up to a minute before it is asked for: 90 to 150 seconds after the start, in batch 13 to 24.
    "out of time": Event(lambda cluster, job: None, ("--time=3", "--signal=USR1@30"), pace=6.0),
    "cancelled": Event(lambda cluster, job: cluster.call("scancel", job)),
    "its first node dies": Event(lambda cluster, job: lose(cluster, "n1")),
    "its second node dies": Event(lambda cluster, job: lose(cluster, "n2")),
}
