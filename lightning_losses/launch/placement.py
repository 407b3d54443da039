"""On how many nodes and devices a run trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_losses.checks import check_number
from lightning_losses.config import ConfigError

DEFAULTS = {"num_nodes": 1, "devices": "auto", "strategy": "auto", "accelerator": "auto"}
"""Lightning's own values, where a configuration says nothing."""


@dataclass(frozen=True)
class Placement:
    """Where the processes of a run go.

    Args:
        nodes: how many machines.
        devices: how many processes on each of them.
        accelerator: what a process trains on, in Lightning's words: auto, cpu, gpu, ...
    """

    nodes: int
    devices: int
    accelerator: str

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Placement":
        """The placement that a resolved configuration states.

        Raises:
            ConfigError: it leaves the number of devices to the machine.
        """
        nodes, devices = (_setting(values, key) for key in ("num_nodes", "devices"))
        count = len(devices) if isinstance(devices, list) else devices
        if not str(count).isdigit() or int(count) < 1:
            raise ConfigError(f"--devices must be given, as trainer.devices is {devices!r}, which depends on the node.")
        return cls(int(nodes), int(count), str(_setting(values, "accelerator")))


def overrides(values: dict[str, Any], nodes: int | None, devices: int | None, given: Sequence[str] = ()) -> list[str]:
    """The changes of a configuration that put it on so many nodes and devices; none where it says so already.

    Args:
        values: the resolved configuration.
        nodes: as asked for on the command line; None leaves the configuration's.
        devices: as asked for on the command line; None leaves the configuration's.
        given: the overrides that the configuration contains.

    Raises:
        ConfigError: a number is below 1, or an override says otherwise.

    >>> overrides({"trainer": {"devices": 1}}, nodes=2, devices=4)
    ['trainer.num_nodes=2', 'trainer.devices=4', 'trainer.strategy=ddp']
    >>> overrides({"trainer": {"devices": 1}}, nodes=1, devices=1)
    []
    """
    changes = {}
    for flag, key, count in (("--nodes", "num_nodes", nodes), ("--devices", "devices", devices)):
        if count is None:
            continue
        try:
            check_number(flag, count, at_least=1)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        for override in given:
            if override.startswith(f"trainer.{key}=") and str(_setting(values, key)) != str(count):
                raise ConfigError(f"{flag} {count} and {override} contradict each other: give one of them.")
        if _setting(values, key) != count:
            changes[key] = count
    nodes, devices = (changes.get(key, _setting(values, key)) for key in ("num_nodes", "devices"))
    if _setting(values, "strategy") == "auto" and (nodes != 1 or devices not in (1, "1", "auto")):
        return [*(f"trainer.{key}={count}" for key, count in changes.items()), "trainer.strategy=ddp"]
    return [f"trainer.{key}={count}" for key, count in changes.items()]


def _setting(values: dict[str, Any], key: str) -> Any:
    value = (values.get("trainer") or {}).get(key)
    return DEFAULTS[key] if value is None else value
