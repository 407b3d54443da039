"""The pages of the API: of every public name, what its docstring says."""

import importlib
import inspect
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from lightning.pytorch import Callback

from lightning_losses.balancers import Balancer
from lightning_losses.losses import Loss

PACKAGES = {
    "lightning_losses": "Composing losses",
    "lightning_losses.schedules": "Weights that change",
    "lightning_losses.balancers": "Balancers",
    "lightning_losses.losses": "Losses",
    "lightning_losses.functional": "Formulas of the losses",
    "lightning_losses.callbacks": "Callbacks",
    "lightning_losses.curvature": "Curvature",
    "lightning_losses.fisher": "Fisher information",
    "lightning_losses.anchors": "Anchors of EWC",
    "lightning_losses.attacks": "Adversarial attacks",
    "lightning_losses.checkpoint_io": "Checkpoints that are whole",
    "lightning_losses.advise": "Advice on losses",
}
ELSEWHERE = {
    "lightning_losses.balancers": "Every balancer has [a page of its own](../balancers/index.md).",
    "lightning_losses.callbacks": "Every callback has [a page of its own](../callbacks/index.md).",
    "lightning_losses.losses": "Every loss is in [the gallery](../losses.md), with its formula and a plot.",
}

LAST = "---\nsearch:\n  boost: 0.5\n---\n"  # a search finds the pages that explain first


def api_pages() -> dict[str, str]:
    """Their texts, by path in the site."""
    return {f"api/{_short(package)}.md": _page(package, title) for package, title in PACKAGES.items()}


def public(package: str) -> list[str]:
    """The names that a package shows and its page documents, with their package."""
    module = importlib.import_module(package)
    members = {name: getattr(module, name) for name in vars(module).get("__all__") or _own(module)}
    return [
        _path(package, name, member) for name, member in members.items() if not _is_elsewhere(name, member, package)
    ]


def _own(module: ModuleType) -> list[str]:
    """Of a module without a list: what it defines and does not hide."""
    own = {name: member for name, member in vars(module).items() if isinstance(member, type | FunctionType)}
    return [name for name, member in own.items() if member.__module__ == module.__name__ and name[0] != "_"]


def _is_elsewhere(name: str, member: object, package: str) -> bool:
    """Modules, what a page of its own shows, and what the package only passes on."""
    if isinstance(member, ModuleType | str) or f"{package}.{name}" in PACKAGES:
        return True
    concrete = isinstance(member, type) and not inspect.isabstract(member)
    return concrete and issubclass(member, Balancer | Callback | Loss)


def _path(package: str, name: str, member: Any) -> str:
    """Where a name is found; that of a module of the same name would hide it."""
    return f"{member.__module__}.{name}" if f"{package}.{name}" in sys.modules else f"{package}.{name}"


def _page(package: str, title: str) -> str:
    head = f"{LAST}# {title}\n\n`{package}`\n\n{(inspect.getdoc(importlib.import_module(package)) or '')}\n"
    return "\n\n".join([head, ELSEWHERE.get(package, ""), *(f"::: {name}" for name in public(package))])


def _short(package: str) -> str:
    return package.rpartition(".")[2]


def package_tree(root: Path, tree: Path) -> None:
    """The package as it is when installed, in links: `callbacks` and `recipes` stand beside it in the repository."""
    package = tree / "lightning_losses"
    package.mkdir(exist_ok=True)
    sources = [*(root / "lightning_losses").iterdir(), root / "callbacks", root / "recipes"]
    for source in sources:
        if not (package / source.name).exists():
            (package / source.name).symlink_to(source)
