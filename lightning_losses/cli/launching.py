"""`lightning-losses launch`: train a recipe under SLURM, by torchrun or here, once or in a sweep."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_losses.cli.catalogue import Recipe
from lightning_losses.config import ConfigError

if TYPE_CHECKING:
    from lightning_losses.launch.options import SlurmOptions
    from lightning_losses.launch.planning import Planned
    from lightning_losses.launch.slurm import Request

BACKENDS = ("slurm", "torchrun", "local")
VARIABLES = {"partition": "SBATCH_PARTITION", "account": "SBATCH_ACCOUNT", "time": "SBATCH_TIMELIMIT"}
SLURM_FLAGS = {
    "partition": "where to queue; the cluster's default",
    "account": "who pays",
    "time": "the limit: minutes, hours:minutes:seconds, days-hours",
    "mem": "memory of a node, such as 64G",
    "interface": "the network over which the processes talk; the one that leads to the other nodes",
}


def add_arguments(parser: ArgumentParser) -> None:
    """What the verb takes besides a recipe, a size and overrides."""
    parser.add_argument("--backend", required=True, choices=BACKENDS, help="who starts the processes")
    parser.add_argument("--nodes", type=int, metavar="N", help="how many machines; trainer.num_nodes")
    parser.add_argument("--devices", type=int, metavar="D", help="how many processes on each; trainer.devices")
    parser.add_argument("--dry-run", action="store_true", help="check, and print what would be run, but run nothing")
    sweep = parser.add_argument_group("sweep")
    axis = "train with every combination of values: model.lr=0.1,0.01 model.criterion.balancer=Fixed,GradNorm"
    sweep.add_argument("--sweep", nargs="+", action="extend", default=[], metavar="KEY=VALUES", help=axis)
    sweep.add_argument("--collect", action="store_true", help="train nothing: make the table of the sweep's results")
    sweep.add_argument("--submitit", action="store_true", help="queue the sweep through submitit")
    slurm = parser.add_argument_group("SLURM")
    for name, purpose in SLURM_FLAGS.items():
        slurm.add_argument(f"--{name}", help=purpose)
    gpus = "how many; as many as devices where the nodes have them"
    slurm.add_argument("--gpus-per-node", type=int, metavar="G", help=gpus)
    slurm.add_argument("--cpus-per-task", type=int, metavar="C", help="for each process with its data-loading workers")
    slurm.add_argument(
        "--setup", action="append", default=[], metavar="LINE", help="bash before the training; repeatable"
    )
    extra = "another option of sbatch, such as qos=high; repeatable"
    slurm.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help=extra)
    torchrun = parser.add_argument_group("torchrun")
    endpoint = "where several nodes meet: the first of them; run the same command on each"
    torchrun.add_argument("--rdzv-endpoint", metavar="HOST:PORT", help=endpoint)


def launch(recipe: Recipe, given: Namespace, command: str) -> int:
    """Check every run, then start or queue them; the exit code is 1 if one failed."""
    from lightning_losses.cli.assembly import Job
    from lightning_losses.launch import planning, results, sweep

    _check_flags(given)
    jobs = sweep.expand(Job(recipe, given.size, given.overrides, command), sweep.parse(given.sweep))
    placed = [(planning.place(job, given.nodes, given.devices), values) for job, values in jobs]
    runs = sweep.plan_all(placed, elsewhere=given.backend == "slurm" or given.collect)
    if given.collect:
        results.report(runs)
        return 0
    return _queue(runs, given) if given.backend == "slurm" else _start(runs, given)


def _check_flags(given: Namespace) -> None:
    if given.backend == "local" and given.nodes not in (None, 1):
        raise ConfigError(f"--nodes must be 1 with --backend local, found {given.nodes}: take slurm or torchrun.")
    for flag in ("collect", "submitit"):
        if vars(given)[flag] and not given.sweep:
            raise ConfigError(f"--{flag} needs --sweep KEY=VALUE,VALUE")
    if given.submitit and given.backend != "slurm":
        raise ConfigError("--submitit needs --backend slurm")
    if given.submitit and given.dry_run:
        raise ConfigError("--dry-run shows the script of --backend slurm; with --submitit, submitit writes its own.")


def _start(runs: "list[Planned]", given: Namespace) -> int:
    """Run commands here."""
    from lightning_losses.launch import local, program, results, shell, torchrun
    from lightning_losses.launch.placement import Placement

    commands = [program.fit(run.job) for run in runs]
    if given.backend == "torchrun":
        commands = [
            torchrun.command(words, Placement.of(run.config), given.rdzv_endpoint, str(run.directory))
            for run, words in zip(runs, commands, strict=True)
        ]
    if given.dry_run:
        print(*map(shell.line, commands), sep="\n")
        return 0
    if not given.sweep:
        local.become(commands[0])
    failed = local.run_all(runs, commands)
    results.report(runs)
    return failed


def _queue(runs: "list[Planned]", given: Namespace) -> int:
    """Submit a job, or a job array."""
    from lightning_losses.launch import slurm, sweep

    asked = slurm.request(runs, _options(given), dry_run=given.dry_run)
    folder = sweep.folder(runs) if given.sweep else None
    if given.dry_run:
        print(slurm.preview(runs, folder, asked), end="")
        return 0
    if folder is None:
        finished = "This run is already finished; another run_dir or seed_everything would start a new one."
        print(finished if runs[0].result() else slurm.submit(runs[0], asked))
        return 0
    tasks = slurm.open_tasks(runs)
    if not tasks:
        print(f"All {len(runs)} runs are finished or queued: --collect makes the table of results.")
    elif given.submitit:
        print(_through_submitit([runs[index] for index in tasks], folder, asked))
    else:
        print(f"{len(tasks)} of {len(runs)} runs {slurm.submit_array(runs, tasks, folder, asked)}")
    return 0


def _through_submitit(runs: "list[Planned]", folder: Path, asked: "Request") -> str:
    from lightning_losses.launch import jobs

    try:
        from lightning_losses.launch import through_submitit
    except ModuleNotFoundError as error:
        raise ConfigError('submitit is not installed: pip install "lightning-losses[cluster]"') from error
    submitted = through_submitit.submit(runs, folder, asked)
    for run, job in zip(runs, submitted, strict=True):
        jobs.record(run.directory, job.job_id)
    return (
        f"{len(runs)} runs submitted as jobs {submitted[0].job_id} to {submitted[-1].job_id}, logs in {folder}/submitit"
    )


def _options(given: Namespace) -> "SlurmOptions":
    from lightning_losses.launch.options import SlurmOptions, parse_extra

    flags: dict[str, Any] = {name: vars(given)[name] or os.environ.get(VARIABLES.get(name, "")) for name in SLURM_FLAGS}
    return SlurmOptions(
        **flags,
        gpus_per_node=given.gpus_per_node,
        cpus_per_task=given.cpus_per_task,
        setup=tuple(given.setup),
        extra=parse_extra(given.slurm),
    )
