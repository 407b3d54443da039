"""The batch script of a run or of a sweep: a function of what is to be trained and of nothing else."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_losses.launch import hold_signals, shell
from lightning_losses.launch.options import SlurmOptions
from lightning_losses.launch.placement import Placement

WARNING = 90
"""Seconds before the end of its time at which a run is told to write a checkpoint."""

# SLURM's own address of a node is one that every other node can reach; the name that Lightning would take need not be.
RENDEZVOUS = """\
# Where the processes meet: at the address by which SLURM itself reaches the first node, over the network that leads
# from there to the last one.
address() { scontrol show node "$1" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p'; }
nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
MASTER_ADDR=$(address "${nodes[0]}")
export MASTER_ADDR=${MASTER_ADDR:?"scontrol does not know the first node's address"}
export MASTER_PORT=$((15000 + SLURM_JOB_ID % 10000))"""
INTERFACE = """\
last=$(getent ahostsv4 "$(address "${nodes[-1]}")" | awk '{print $1; exit}')
interface=$(ip -o route get "$last" | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')
export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-$interface} NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-$interface}"""
# --export: a site may say that a job starts from an empty environment, and the processes then find no MASTER_ADDR.
# --kill-on-bad-exit: the others would wait for ever for a process that has failed.
SRUN = ["srun", "--export=ALL", "--kill-on-bad-exit=1"]


def render(
    name: str, directory: Path, words: Sequence[str], placement: Placement, options: SlurmOptions, gpus: int
) -> str:
    """The script that trains one run.

    Args:
        name: of the job.
        directory: the run's directory, where the log goes.
        words: the command that trains it.
        placement: its nodes and devices.
        options: what else is asked of SLURM.
        gpus: how many on each node.
    """
    log = directory / "slurm-%j.log"
    return _script(_directives(name, log, placement, options, gpus), options, _train(words))


def render_array(
    name: str,
    table: Path,
    count: int,
    words: Sequence[str],
    placement: Placement,
    options: SlurmOptions,
    gpus: int,
) -> str:
    """The script that trains every run of a sweep, each as one task of a job array.

    Args:
        name: of the job.
        table: a file that holds the overrides of each run on a line of its own; the logs go beside it.
        count: how many runs.
        words: the command that trains one of them, without its overrides.
        placement: nodes and devices of each run.
        options: what else is asked of SLURM.
        gpus: how many on each node.
    """
    directives = _directives(name, table.parent / "slurm-%A_%a.log", placement, options, gpus)
    body = [
        "# This task's line of the table.",
        f"mapfile -t table < {shell.word(str(table.absolute()))}",
        'eval "overrides=(${table[SLURM_ARRAY_TASK_ID]})"',
        f'{_train(words)} "${{overrides[@]}}"',
    ]
    return _script({**directives, "array": f"0-{count - 1}"}, options, "\n".join(body))


def environment(options: SlurmOptions) -> list[str]:
    """Lines of bash that prepare a job: the user's, then where its processes meet and how many CPUs each has."""
    cpus = ["export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"] if options.cpus_per_task else []
    return [*options.setup, RENDEZVOUS, _interface(options), *cpus]


def _script(directives: dict[str, str | None], options: SlurmOptions, body: str) -> str:
    header = ["#!/bin/bash", "# Trains, or goes on training where an earlier job stopped: sbatch THIS_FILE"]
    asked = [f"#SBATCH --{key}" + _value(value) for key, value in directives.items()]
    return "\n\n".join(["\n".join([*header, *asked]), "\n".join(environment(options)), body]) + "\n"


def _train(words: Sequence[str]) -> str:
    return shell.lines([*SRUN, sys.executable, hold_signals.__file__, *words])


def _directives(name: str, log: Path, placement: Placement, options: SlurmOptions, gpus: int) -> dict[str, str | None]:
    folder = str(log.parent.absolute()).replace("%", "%%")  # a single one begins one of SLURM's patterns
    asked: dict[str, object] = {
        "job-name": name,
        "partition": options.partition,
        "account": options.account,
        "nodes": placement.nodes,
        "ntasks-per-node": placement.devices,
        "gpus-per-node": gpus or None,
        "cpus-per-task": options.cpus_per_task,
        "mem": options.mem,
        "time": options.time,
        "signal": f"USR1@{WARNING}",  # to the processes, not to this script
        "chdir": Path.cwd(),
        "output": f"{folder}/{log.name}",
        "open-mode": "append",  # a job that is queued again goes on with its log
    }
    directives = {key: str(value) for key, value in asked.items() if value is not None}
    return {**directives, "requeue": None, **options.extra}


def _value(value: str | None) -> str:
    if value is None:
        return ""
    plain = all(character.isalnum() or character in "-_./:@%+,=[]" for character in value)
    return f"={value if plain else json.dumps(value, ensure_ascii=False)}"


def _interface(options: SlurmOptions) -> str:
    if options.interface is None:
        return INTERFACE
    name = shell.word(options.interface)
    return f"export GLOO_SOCKET_IFNAME={name} NCCL_SOCKET_IFNAME={name}"
