"""The commands that train a recipe."""

import shutil
import sys
from pathlib import Path

from lightning_losses.cli.assembly import Job
from lightning_losses.cli.catalogue import Recipe
from lightning_losses.config import ConfigError

NAME = "lightning-losses"


def fit(job: Job) -> list[str]:
    """The words of the command line that trains `job`."""
    return [program(), *arguments(job.recipe, job.size), *job.overrides]


def arguments(recipe: Recipe, size: str) -> list[str]:
    """The words between the program and the overrides."""
    wanted = recipe.name if recipe.package else str(recipe.file)
    return ["fit", wanted, *(["--size", size] if size != "default" else [])]


def program() -> str:
    """The full path of `lightning-losses` in the environment that runs this.

    Raises:
        ConfigError: it is not installed there.
    """
    found = shutil.which(NAME, path=str(Path(sys.executable).parent)) or shutil.which(NAME)
    if found is None:
        raise ConfigError(f"The program {NAME} is not beside {sys.executable} nor on PATH: pip install {NAME}")
    return str(Path(found).absolute())
