"""Queue a run, or all runs of a sweep, with SLURM."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_losses.config import ConfigError
from lightning_losses.launch import cluster, jobs, program, script, shell, tools
from lightning_losses.launch.options import SlurmOptions
from lightning_losses.launch.placement import Placement
from lightning_losses.launch.planning import Planned

SCRIPT, TABLE = "job.sbatch", "overrides.txt"


@dataclass(frozen=True)
class Request:
    """What is asked of a cluster that was found to be able to give it.

    Args:
        placement: nodes and devices of a run.
        options: what else.
        gpus: how many on each node.
    """

    placement: Placement
    options: SlurmOptions
    gpus: int


def request(runs: Sequence[Planned], options: SlurmOptions, *, dry_run: bool) -> Request:
    """What runs ask for; the cluster is asked whether it has it.

    Args:
        runs: at least one.
        options: what they ask for besides nodes and devices.
        dry_run: whether nothing is to be submitted, so that a cluster that cannot be asked is but warned about.

    Raises:
        ConfigError: it has not, or cannot be asked, or the runs differ in what they need.
    """
    placements = {Placement.of(run.config) for run in runs}
    if len(placements) > 1:
        raise ConfigError("The runs of a sweep must have the same nodes, devices and accelerator with --backend slurm.")
    (placement,) = placements
    if not dry_run:
        tools.require()
    nodes = _known_nodes(options) if dry_run else cluster.candidates(options)
    gpus = cluster.gpus_per_node(nodes, placement, options)
    cluster.check(nodes, placement, options, gpus)
    return Request(placement, options, gpus)


def _known_nodes(options: SlurmOptions) -> list[cluster.Node]:
    """None, with a warning, if nobody can say."""
    try:
        return cluster.candidates(options)
    except cluster.Unanswered as error:
        unknown = "Whether the partition exists, has such nodes and devices, and allows the time, is not checked."
        gpus = "Without --gpus-per-node, GPUs are asked for only if trainer.accelerator is gpu."
        print(f"lightning-losses: warning: {error} {unknown} {gpus}", file=sys.stderr)
        return []


def run_script(run: Planned, asked: Request) -> str:
    """The batch script of one run."""
    name = run.job.recipe.name.replace("/", "-")
    return script.render(name, run.directory, program.fit(run.job), asked.placement, asked.options, asked.gpus)


def array_script(runs: Sequence[Planned], folder: Path, asked: Request) -> str:
    """The batch script of a sweep."""
    job = runs[0].job
    words = [program.program(), *program.arguments(job.recipe, job.size)]
    name = f"{job.recipe.name}-sweep".replace("/", "-")
    return script.render_array(name, folder / TABLE, len(runs), words, asked.placement, asked.options, asked.gpus)


def table(runs: Sequence[Planned]) -> str:
    """The overrides of each run on a line of its own, quoted for bash."""
    return "".join(f"{shell.line(run.job.overrides)}\n" for run in runs)


def preview(runs: Sequence[Planned], folder: Path | None, asked: Request) -> str:
    """What would be submitted; below the script of a sweep in `folder`, its table."""
    if folder is None:
        return run_script(runs[0], asked)
    rows = "".join(f"# {line}\n" for line in table(runs).splitlines())
    return f"{array_script(runs, folder, asked)}\n# {folder / TABLE}:\n{rows}"


def submit(run: Planned, asked: Request) -> str:
    """Queue one run.

    Returns:
        How to follow it.

    Raises:
        ConfigError: SLURM is not here or refuses it, or a job trains in the run's directory already.
    """
    tools.require()
    jobs.check_free(run.directory)
    text, file = run_script(run, asked), run.directory / SCRIPT
    jobs.check(text)
    jobs.write(file, text)
    job = jobs.submit(file)
    jobs.record(run.directory, job)
    return _follow(job, file, f"slurm-{job}.log")


def submit_array(runs: Sequence[Planned], tasks: Sequence[int], folder: Path, asked: Request) -> str:
    """Queue some runs of a sweep.

    Args:
        runs: all of them.
        tasks: the indices of those to queue.
        folder: of the sweep.
        asked: what each run needs.

    Returns:
        How to follow them.

    Raises:
        ConfigError: SLURM is not here or refuses them.
    """
    tools.require()
    text, file = array_script(runs, folder, asked), folder / SCRIPT
    jobs.check(text)
    jobs.write(folder / TABLE, table(runs))
    jobs.write(file, text)
    job = jobs.submit(file, tasks)
    for index in tasks:
        jobs.record(runs[index].directory, f"{job}_{index}")
    return _follow(job, file, f"slurm-{job}_*.log")


def open_tasks(runs: Sequence[Planned]) -> list[int]:
    """The indices of the runs that are neither finished nor queued."""
    tools.require()
    queue = jobs.queued()
    return [i for i, run in enumerate(runs) if not run.result() and jobs.recorded(run.directory) not in queue]


def _follow(job: str, file: Path, log: str) -> str:
    """What a person can do with a job."""
    folder = shell.word(str(file.parent))
    rows = {
        "state": f"squeue --job {job}",
        "output": f"tail -F {folder}/{log}",
        "cancel": f"scancel {job}",
        "script": f"{folder}/{file.name}",
    }
    return "\n".join([f"submitted as job {job}", *(f"  {name:<10}{command}" for name, command in rows.items())])
