"""Recipes outside the package: a folder of the user's, imported below the name of this module.

A copied recipe gets a package name of its own, so that two copies, or a copy and the installed recipe, never mix. The
folders are remembered in an environment variable: a data-loading worker that Python starts afresh inherits it,
imports this module to unpickle a data set, and finds the folder again.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

VARIABLE = "LIGHTNING_LOSSES_RECIPE_FOLDERS"
__path__: list[str] = []  # makes this module a package: its submodules are what the finder finds


def package(folder: Path) -> str:
    """The name under which the modules of `folder` can be imported from now on, relative imports included."""
    path = str(folder.resolve())
    name = f"{__name__}.{re.sub(r'[^0-9A-Za-z_]', '_', folder.resolve().name)}_{sha256(path.encode()).hexdigest()[:8]}"
    os.environ[VARIABLE] = json.dumps(_folders() | {name: path})
    return name


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{__name__}.") or fullname not in _folders():
            return None
        folder = _folders()[fullname]
        init = Path(folder, "__init__.py")
        if init.is_file():
            return spec_from_file_location(fullname, init, submodule_search_locations=[folder])
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [folder]
        return spec


def _folders() -> dict[str, str]:
    folders: dict[str, str] = json.loads(os.environ.get(VARIABLE, "{}"))
    return folders


sys.meta_path.append(_Finder())
