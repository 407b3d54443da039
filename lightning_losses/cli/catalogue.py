"""Find a recipe: by the name of an installed one, or by the path of a YAML file or of a folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from lightning_losses import recipes
from lightning_losses.checks import message, nearest
from lightning_losses.cli import folders
from lightning_losses.config import ConfigError

CONFIG = "config.yaml"


@dataclass(frozen=True)
class Recipe:
    """A YAML file and the Python modules beside it.

    Args:
        name: `segmentation` for segmentation/config.yaml, `segmentation/nuclei` for segmentation/nuclei.yaml.
        file: the YAML file.
        package: the package under which the modules of the file's folder are imported; None for a user's folder.
    """

    name: str
    file: Path
    package: str | None = None

    def find(self, key: str, path: str, base: type) -> type:
        """The class that `path`, such as "model.Segmenter", names in the recipe's folder.

        Raises:
            ConfigError: there is no such file or class, or it is no subclass of `base`.
        """
        module_name, _, class_name = path.rpartition(".")
        if not self.file.with_name(f"{module_name}.py").is_file():
            raise ConfigError(message(key, f"FILE.CLASS with a FILE.py in {self.file.parent}", path))
        module = import_module(f"{self.package or folders.package(self.file.parent)}.{module_name}")
        classes = {name: value for name, value in vars(module).items() if isinstance(value, type)}
        if class_name not in classes:
            own = [name for name, value in classes.items() if value.__module__ == module.__name__]
            raise ConfigError(f"`{key}`: {module_name}.py has no class {class_name!r}. {nearest(class_name, own)}")
        if not issubclass(classes[class_name], base):
            raise ConfigError(f"`{key}` must be a {base.__name__}, found {path!r}.")
        return classes[class_name]


def installed() -> Iterator[Recipe]:
    """The recipes of this package, by name."""
    files = [file for root in recipes.__path__ for file in Path(root).glob("*/*.yaml")]
    for file in sorted(files, key=_name):
        yield Recipe(_name(file), file, f"{recipes.__name__}.{file.parent.name}")


def find(wanted: str) -> Recipe:
    """The installed recipe of that name, otherwise the one at that path.

    Raises:
        ConfigError: there is neither; the message names the nearest recipe.
    """
    by_name = {recipe.name: recipe for recipe in installed()}
    if wanted in by_name:
        return by_name[wanted]
    path = Path(wanted)
    if path.is_file():
        return Recipe(_name(path), path)
    if (path / CONFIG).is_file():
        return Recipe(_name(path / CONFIG), path / CONFIG)
    if path.is_dir():
        raise ConfigError(f"The folder {wanted!r} holds no {CONFIG}.")
    raise ConfigError(f"There is no recipe or file {wanted!r}. {nearest(wanted, by_name)}")


def _name(file: Path) -> str:
    folder = file.resolve().parent.name
    return folder if file.name == CONFIG else f"{folder}/{file.stem}"
