"""What a recipe's YAML may ask of the machine it runs on: `${precision:bf16-mixed}` and `${wandb_offline:}`."""

import netrc
import os
import warnings
from pathlib import Path
from urllib.parse import urlparse

from omegaconf import DictConfig, OmegaConf


def register() -> None:
    """Make the resolvers known to OmegaConf; doing so again changes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OmegaConf 2.4 deprecates the one name that 2.3 has too
        OmegaConf.register_new_resolver("precision", precision, replace=True)
        OmegaConf.register_new_resolver("wandb_offline", wandb_offline, replace=True)


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


def wandb_offline() -> bool:
    """True unless the user is logged in to W&B, by the variable WANDB_API_KEY or by an entry in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return False
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is None
    except (OSError, netrc.NetrcParseError):
        return True


def _cpu_has_bf16() -> bool:
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(words & {"amx_bf16", "avx512_bf16", "bf16"})
