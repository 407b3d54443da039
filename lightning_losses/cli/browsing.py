"""Look at recipes: list them, show a configuration, copy a folder to change."""

import json
import shutil
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from lightning_losses import recipes
from lightning_losses.cli.catalogue import CONFIG, Recipe, installed
from lightning_losses.cli.comments import with_comments
from lightning_losses.cli.reference import Reference
from lightning_losses.config import ConfigError, compose, load, sizes

HEAD = ("size", "metric", "reference", "time", "last measured")


def show_list() -> int:
    """Print the installed recipes: each size with its metric, the reference, and what it reached when last measured."""
    tables: dict[str, list[tuple[str, ...]]] = {}
    for recipe in installed():
        values = load(recipe.file)
        title = f"{recipe.name}: {values['recipe']['title']}"
        tables[title] = [(size, *_promise(recipe, size), _last_measured(recipe, size)) for size in sizes(values)]
    widths = [max(map(len, column)) + 2 for column in zip(HEAD, *chain(*tables.values()), strict=True)]
    print(_line(HEAD, widths))
    for title, rows in tables.items():
        print(f"\n{title}")
        for row in rows:
            print(_line(row, widths))
    return 0


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  " + "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _promise(recipe: Recipe, size: str) -> tuple[str, str, str]:
    values = compose(recipe.file, recipe.name, size).get("reference") or {}
    reference = Reference.of(values)
    if reference is None:
        return values.get("metric") or "", "none", ""
    time = f"{reference.minutes:g} min" if reference.minutes else ""
    return reference.metric, f"{reference.value:g} ± {reference.tolerance:g}", time


def _last_measured(recipe: Recipe, size: str) -> str:
    last = _measured().get(f"{recipe.name} {size}")
    if last is None:
        return "no"
    runs = "1 run" if last["seeds"] == 1 else f"mean of {last['seeds']} seeds"
    return f"{last['value']:g} on {last['date']}, {runs}"


@cache
def _measured() -> dict[str, Any]:
    """What `benchmarks/recipes.py` found, by recipe and size."""
    values: dict[str, Any] = json.loads(resources.files(recipes).joinpath("measured.json").read_text(encoding="utf-8"))
    return values


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
