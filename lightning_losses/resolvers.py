"""What a recipe's YAML may ask for: `${precision:bf16-mixed}`, `${wandb_offline:}` and `${product:2,3}`."""

import math
import netrc
import os
import socket
import warnings
from functools import cache
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import getproxies

from omegaconf import DictConfig, OmegaConf

WANDB_URLS = ("https://api.wandb.ai", "https://api.forge.coreweave.com")
"""Under the second of which `wandb login` keeps the key since wandb 0.31."""
SECONDS = 3.0
"""In which a server has to take a connection."""


def register() -> None:
    """Make the resolvers known to OmegaConf; doing so again changes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OmegaConf 2.4 deprecates the one name that 2.3 has too
        OmegaConf.register_new_resolver("precision", precision, replace=True)
        OmegaConf.register_new_resolver("wandb_offline", wandb_offline, replace=True)
        OmegaConf.register_new_resolver("product", product, replace=True)


def precision(wanted: str, *, _root_: DictConfig) -> str:
    """`wanted` where the accelerator has it in hardware, otherwise "32-true".

    The accelerator is the GPU if there is one, unless `trainer.accelerator` says "cpu".
    """
    import torch

    on_gpu = torch.cuda.is_available() and OmegaConf.select(_root_, "trainer.accelerator") != "cpu"
    if wanted.startswith("bf16"):
        has_it = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _cpu_has_bf16()
    else:
        has_it = on_gpu or not wanted.startswith("16")
    return wanted if has_it else "32-true"


def product(*factors: int) -> int:
    """Of integers that stand elsewhere, as the epochs of all tasks do."""
    return math.prod(factors)


def wandb_offline() -> bool:
    """True unless the user is logged in to W&B and its server can be reached: W&B itself would wait for it for ever."""
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled") or not is_logged_in_to_wandb():
        return True
    if not any(_is_reachable(url) for url in _wandb_urls()):
        warnings.warn(f"{' and '.join(_wandb_urls())} cannot be reached: W&B stays offline.", stacklevel=2)
        return True
    return False


def is_logged_in_to_wandb() -> bool:
    """Whether there is a key: the variable WANDB_API_KEY or an entry in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        logins = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    servers = [urlparse(url) for url in _wandb_urls()]
    return any(logins.authenticators(host or "") for server in servers for host in (server.netloc, server.hostname))


def _wandb_urls() -> tuple[str, ...]:
    own = os.environ.get("WANDB_BASE_URL")
    return (own,) if own else WANDB_URLS


@cache
def _is_reachable(url: str) -> bool:
    """Whether somebody answers there, as far as that can be seen: not where a proxy is in between."""
    server = urlparse(url)
    if getproxies():
        return True
    try:
        with socket.create_connection(
            (server.hostname, server.port or (80 if server.scheme == "http" else 443)), SECONDS
        ):
            return True
    except OSError:
        return False


def _cpu_has_bf16() -> bool:
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(words & {"amx_bf16", "avx512_bf16", "bf16"})
