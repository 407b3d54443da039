"""What SLURM is asked for."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from lightning_losses.config import ConfigError

OWN = {"nodes": "--nodes", "ntasks-per-node": "--devices", "ntasks": "--nodes and --devices", "array": "--sweep"}


@dataclass(frozen=True)
class SlurmOptions:
    """The part of a job that no configuration states.

    Args:
        partition: where to queue; None for the cluster's default.
        account: who pays.
        time: the limit, in SLURM's words: minutes, hours:minutes:seconds, days-hours, ...
        gpus_per_node: how many; None for as many as devices, if the nodes have GPUs and the accelerator is none other.
        cpus_per_task: for each process, its data-loading workers included.
        mem: for each node, such as 64G.
        interface: the network over which the processes talk; None for the one that leads to the other nodes.
        setup: lines of bash that prepare the environment, such as `module load cuda`.
        extra: other options of sbatch by name; an option without a value has None.
    """

    partition: str | None = None
    account: str | None = None
    time: str | None = None
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    mem: str | None = None
    interface: str | None = None
    setup: tuple[str, ...] = ()
    extra: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("gpus_per_node", 0), ("cpus_per_task", 1)):
            value = vars(self)[name]
            if value is not None and value < least:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, found {value}.")
        for key, flag in OWN.items():
            if key in self.extra:
                raise ConfigError(f"--slurm {key} must be given by {flag}, so that the training knows of it.")


def parse_extra(words: Iterable[str]) -> dict[str, str | None]:
    """Options of sbatch from `key=value`, or `key` where the option takes no value.

    >>> parse_extra(["qos=high", "--exclusive"])
    {'qos': 'high', 'exclusive': None}

    Raises:
        ConfigError: there is no key, or a value has more than one line.
    """
    extra: dict[str, str | None] = {}
    for text in words:
        key, equals, value = text.partition("=")
        key = key.removeprefix("--")
        if not key.replace("-", "").isalnum() or not text.isprintable():
            raise ConfigError(f"--slurm must be an option of sbatch, such as qos=high, found {text!r}.")
        extra[key] = value if equals else None
    return extra
