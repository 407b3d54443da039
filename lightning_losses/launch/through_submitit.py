"""Queue the runs of a sweep through submitit, which calls a Python function in every task of a job array."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from submitit import AutoExecutor, Job

from lightning_losses.config import ConfigError
from lightning_losses.launch import cluster, program, script
from lightning_losses.launch.planning import Planned
from lightning_losses.launch.slurm import Request
from lightning_losses.launch.task import Fit


def submit(runs: Sequence[Planned], folder: Path, asked: Request, system: str = "slurm") -> list[Job[Any]]:
    """Queue runs as one job array.

    Args:
        runs: at least one.
        folder: of the sweep; submitit keeps its files below it.
        asked: what each run needs.
        system: slurm, or local for processes of this machine, or debug for this very process.

    Raises:
        ConfigError: there is no time limit. submitit's own would be five minutes.
    """
    options = asked.options
    if options.time is None:
        raise ConfigError("--time must be given with --submitit, whose own limit is five minutes.")
    executor = AutoExecutor(folder=folder / "submitit", cluster=system, slurm_max_num_timeout=1_000_000)
    executor.update_parameters(
        name=f"{runs[0].job.recipe.name}-sweep".replace("/", "-"),
        nodes=asked.placement.nodes,
        tasks_per_node=asked.placement.devices if system == "slurm" else 1,
        gpus_per_node=asked.gpus or None,
        cpus_per_task=options.cpus_per_task,
        timeout_min=math.ceil(cluster.minutes(options.time)),
        slurm_partition=options.partition,
        slurm_account=options.account,
        slurm_mem=options.mem,
        slurm_setup=script.environment(options),
        slurm_srun_args=script.SRUN[1:],
        slurm_additional_parameters={key: True if value is None else value for key, value in options.extra.items()},
    )
    jobs: list[Job[Any]] = executor.map_array(Fit(), [program.fit(run.job) for run in runs])
    return jobs
