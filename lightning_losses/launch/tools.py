"""SLURM's own programs, called so that whatever they say comes out as one line."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from lightning_losses.config import ConfigError

CLIENTS = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT")
STATED = ("PARTITION", "ACCOUNT", "TIMELIMIT", "JOB_NAME", "SIGNAL", "OPEN_MODE", "REQUEUE", "NO_REQUEUE", "ARRAY_INX")
"""SBATCH_... variables of what a script states itself: to sbatch, the variable would count and not the script."""


def is_here() -> bool:
    """Whether this machine can submit jobs."""
    return shutil.which("sbatch") is not None


def require() -> None:
    """SLURM must be here.

    Raises:
        ConfigError: it is not; the message says what to do instead.
    """
    if not is_here():
        raise ConfigError(
            "There is no sbatch on this machine: run it on a cluster's login node (Debian's package is slurm-client), "
            "write the script with --dry-run, or take --backend local or torchrun."
        )


def call(words: Sequence[str], text: str | None = None, patience: float = 60.0) -> str:
    """What a program of SLURM prints.

    Args:
        words: the command.
        text: what it reads.
        patience: seconds within which it has to answer.

    Raises:
        ConfigError: it fails, or does not answer in time.
    """
    try:
        done = subprocess.run(
            words,
            input=text,
            env=_environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=patience,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{words[0]} gave no answer within {patience:g} seconds.") from error
    except FileNotFoundError as error:
        raise ConfigError(f"There is no {words[0]} on this machine, and --backend slurm needs it.") from error
    if done.returncode != 0:
        last = " ".join(done.stderr.splitlines()[-3:])  # a name that does not resolve is reported ten times
        raise ConfigError(f"{words[0]} fails: {' '.join(last.split()) or f'exit code {done.returncode}'}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Without what a job that we are called from has been given: sbatch would take it for what is asked of it."""
    stated = {f"SBATCH_{name}" for name in STATED}
    return {
        key: value
        for key, value in os.environ.items()
        if key in CLIENTS or not (key.startswith("SLURM_") or key in stated)
    }
