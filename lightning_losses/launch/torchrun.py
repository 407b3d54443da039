"""Start the processes of a run by torchrun."""

import socket
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from lightning_losses.config import ConfigError
from lightning_losses.launch.placement import Placement

PORT = 29400


def command(words: Sequence[str], placement: Placement, endpoint: str | None, identity: str) -> list[str]:
    """The command line that starts `words` once for each device of a node; for several nodes, the same on each.

    Args:
        words: what to start: a program, not a Python file.
        placement: nodes and devices.
        endpoint: HOST or HOST:PORT of the first node, where the nodes meet; needed for more than one.
        identity: the same on all nodes, and another one for another run.

    Raises:
        ConfigError: there are several nodes and no endpoint, or it cannot be found.

    >>> command(["lightning-losses", "fit", "gan"], Placement(1, 4, "gpu"), None, "gan")[3:]
    ['--standalone', '--nproc-per-node=4', '--no-python', 'lightning-losses', 'fit', 'gan']
    """
    where = ["--standalone"] if placement.nodes == 1 else _meeting(placement.nodes, endpoint, identity)
    devices = f"--nproc-per-node={placement.devices}"
    return [sys.executable, "-m", "torch.distributed.run", *where, devices, "--no-python", *words]


def _meeting(nodes: int, endpoint: str | None, identity: str) -> list[str]:
    if endpoint is None:
        raise ConfigError("--rdzv-endpoint must be given with several nodes: HOST:PORT of the first of them.")
    try:
        parts = urlsplit(f"//{endpoint}")
        port = parts.port or PORT
        socket.getaddrinfo(parts.hostname or " ", port)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--rdzv-endpoint must be HOST:PORT of the first node, found {endpoint!r}: {error}"
        ) from error
    return [
        f"--nnodes={nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={parts.netloc.removesuffix(f':{port}')}:{port}",
        f"--rdzv-id={identity}",
    ]
