"""The nodes of a cluster, and whether they can take a job: what never could is said before it is queued."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_losses.checks import nearest
from lightning_losses.config import ConfigError
from lightning_losses.launch import tools
from lightning_losses.launch.options import SlurmOptions
from lightning_losses.launch.placement import Placement

FORMAT = "%P|%N|%T|%c|%G|%l|%E"
PATIENCE = 20.0
"""Seconds for `sinfo`. By itself it gives up after 10 on a controller that is down, unless SLURM is told otherwise."""
UNUSABLE = ("down", "drain", "fail", "inval", "unk", "no_respond")


class Unanswered(ConfigError):
    """Nobody can say what the cluster has."""


@dataclass(frozen=True)
class Node:
    """A node, as a member of a partition.

    Args:
        partition: the partition's name.
        is_default: whether that is where jobs go that name none.
        name: the node's name.
        state: as `sinfo` calls it.
        cpus: how many.
        gpus: how many.
        limit: the longest time that a job may take there.
        reason: why it cannot be used, or "none".
    """

    partition: str
    is_default: bool
    name: str
    state: str
    cpus: int
    gpus: int
    limit: str
    reason: str

    @classmethod
    def parse(cls, line: str) -> "Node":
        """The node of a line that `sinfo` prints.

        >>> Node.parse("main*|n1|idle|64|gpu:a100:4(S:0-1)|1:00:00|none").gpus
        4
        """
        partition, name, state, cpus, resources, limit, reason = line.split("|", 6)
        gpus = sum(int(count) for count in re.findall(r"gpu(?::[^:,(]+)?:(\d+)", resources))
        cores = int(re.sub(r"\D.*", "", cpus))
        return cls(partition.rstrip("*"), partition.endswith("*"), name, state, cores, gpus, limit, reason)

    @property
    def is_usable(self) -> bool:
        """Whether it answers and takes jobs, now or when it is free."""
        return not (self.state.startswith(UNUSABLE) or self.state.endswith("*"))


def candidates(options: SlurmOptions) -> list[Node]:
    """The nodes to which a job may go.

    Raises:
        Unanswered: there is no SLURM here, or its controller does not answer.
        ConfigError: there is no such partition; the message names those that exist.
    """
    nodes = _all_nodes()
    names = {node.partition for node in nodes}
    wanted = set((options.partition or "").split(",")) - {""}
    for name in sorted(wanted - names):
        exist = ", ".join(sorted(names))
        raise ConfigError(f"There is no partition {name!r}. {nearest(name, names)} The cluster has {exist}.")
    nodes = [node for node in nodes if (node.partition in wanted if wanted else node.is_default)]
    named = options.extra.get("nodelist")
    if named:
        hosts = tools.call(["scontrol", "show", "hostnames", named]).split()
        nodes = [node for node in nodes if node.name in hosts]
    return nodes


def _all_nodes() -> list[Node]:
    if not tools.is_here():
        raise Unanswered("There is no SLURM on this machine.")
    try:
        text = tools.call(["sinfo", "--all", "-h", "-N", "-o", FORMAT], patience=PATIENCE)
    except ConfigError as error:
        raise Unanswered(f"SLURM's controller does not answer: {str(error).rstrip('.')}.") from error
    return [Node.parse(line) for line in text.splitlines()]


def check(nodes: Sequence[Node], placement: Placement, options: SlurmOptions, gpus: int) -> None:
    """`nodes` must be able to take a job, if not now then later.

    Args:
        nodes: where it may go; none if the cluster has its own way to choose.
        placement: nodes and devices of the job.
        options: what else it asks for.
        gpus: how many it asks for on each node.

    Raises:
        ConfigError: no node has so many devices, too few nodes can be reached, or the time is longer than allowed.
    """
    if not nodes:
        return
    where = ", ".join(sorted({node.partition for node in nodes}))
    if gpus:
        if placement.devices > gpus:
            raise ConfigError(f"--devices must be at most --gpus-per-node, which is {gpus}, found {placement.devices}.")
        fitting = [node for node in nodes if node.gpus >= gpus]
        most = f"{max(node.gpus for node in nodes)} GPUs"
    else:
        each = options.cpus_per_task or 1
        fitting = [node for node in nodes if node.cpus >= placement.devices * each]
        most = f"{max(node.cpus for node in nodes) // each} processes" + (f" of {each} CPUs" if each > 1 else "")
    if not fitting:
        found = max(gpus, placement.devices)
        raise ConfigError(f"--devices must be at most what a node of {where} has, {most}, found {found}.")
    _check_reachable(fitting, placement, where)
    _check_time(fitting, options, where)


def gpus_per_node(nodes: Sequence[Node], placement: Placement, options: SlurmOptions) -> int:
    """How many GPUs a job asks for on each node."""
    if options.gpus_per_node is not None:
        return options.gpus_per_node
    has_gpus = any(node.gpus for node in nodes)
    wants_gpus = placement.accelerator in ("gpu", "cuda") or (placement.accelerator == "auto" and has_gpus)
    return placement.devices if wants_gpus else 0


def minutes(time: str) -> float:
    """A time limit in one of SLURM's ways to write it.

    >>> [minutes(text) for text in ("90", "1:30:00", "2-0", "infinite")]
    [90.0, 90.0, 2880.0, inf]

    Raises:
        ConfigError: it is none of them.
    """
    if time.lower() in ("infinite", "unlimited"):
        return float("inf")
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if match is None:
        raise ConfigError(f"--time must be MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS, found {time!r}.")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    units = [60.0, 1.0, 1 / 60] if days or len(numbers) == 3 else [1.0, 1 / 60]
    return 1440.0 * int(days or 0) + sum(number * unit for number, unit in zip(numbers, units, strict=False))


def _check_reachable(fitting: Sequence[Node], placement: Placement, where: str) -> None:
    usable = {node.name for node in fitting if node.is_usable}
    if len(usable) >= placement.nodes:
        return
    others = {node.name: node for node in fitting if not node.is_usable}
    states = ", ".join(
        f"{node.name} is {node.state}" + (f" ({node.reason})" if node.reason != "none" else "")
        for node in list(others.values())[:5]
    )
    more = f": {states}" + (", ..." if len(others) > 5 else "") if others else ""
    raise ConfigError(
        f"--nodes must be at most what {where} has of fitting nodes in service, {len(usable)}, "
        f"found {placement.nodes}{more}."
    )


def _check_time(fitting: Sequence[Node], options: SlurmOptions, where: str) -> None:
    longest = max((node.limit for node in fitting), key=minutes)
    if options.time is not None and minutes(options.time) > minutes(longest):
        raise ConfigError(f"--time must be at most {longest}, the limit of {where}, found {options.time}.")
