"""Look at recipes: list them, show a configuration, copy a folder to change."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from lightning_losses.cli.catalogue import CONFIG, Recipe, installed
from lightning_losses.cli.comments import with_comments
from lightning_losses.config import ConfigError, compose, load


def show_list() -> int:
    """Print a table of the installed recipes."""
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "title", "sizes", "metric", "reference", "minutes", box=None)
    recipes = list(installed())
    table.columns[0].min_width = max(len(recipe.name) for recipe in recipes)  # a name cut short cannot be typed
    for recipe in recipes:
        values = load(recipe.file)
        reference = values.get("reference") or {}
        facts = [reference.get(key) for key in ("metric", "value", "minutes")]
        sizes = ", ".join(["default", *(values.get("sizes") or {})])
        table.add_row(
            recipe.name, values["recipe"]["title"], sizes, *("" if fact is None else str(fact) for fact in facts)
        )
    Console().print(table)
    return 0


def show(recipe: Recipe, size: str, overrides: Sequence[str]) -> int:
    """Print the composed configuration, interpolations and the file's comments included."""
    config = compose(recipe.file, recipe.name, size, overrides)
    print(with_comments(OmegaConf.to_yaml(config), *_texts(recipe.file)))
    return 0


def copy(recipe: Recipe, path: str) -> int:
    """Copy the recipe's folder to a new one, and say how to run the copy."""
    target = Path(path)
    if target.exists():
        raise ConfigError(f"{path!r} exists already, and nothing is overwritten: give a new folder.")
    shutil.copytree(recipe.file.parent, target, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    copied = target if recipe.file.name == CONFIG else target / recipe.file.name
    # a bare name would be taken for that of an installed recipe
    print(f"Copied to {target}. To train it: lightning-losses fit {copied if copied.is_absolute() else f'./{copied}'}")
    return 0


def _texts(file: Path) -> list[str]:
    base = yaml.safe_load(file.read_text(encoding="utf-8")).get("extends")
    return [file.read_text(encoding="utf-8"), *(_texts(file.parent / base) if base else [])]
