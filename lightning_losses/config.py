"""A recipe's configuration: the file, then a size, then overrides, then the run directory, then interpolations."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from lightning_losses.checks import nearest
from lightning_losses.resolvers import register

TRAINED = ("seed_everything", "model", "data", "trainer")
ALLOWED: dict[str, tuple[str, ...] | None] = {
    "": (*TRAINED, "recipe", "reference", "run_dir"),
    "recipe": ("title", "model", "data"),
    "reference": ("metric", "value", "mode", "tolerance", "minutes", "hardware", "source"),
    **dict.fromkeys(("model", "data", "trainer")),  # None: the signatures of the classes decide later
}
PATHS = ("root", "path", "dir", "folder", "file")

register()


class ConfigError(ValueError):
    """The command line or a recipe's file is wrong; the message is one line in the user's terms."""


def compose(file: Path, name: str, size: str = "default", overrides: Sequence[str] = ()) -> DictConfig:
    """A recipe's configuration with its interpolations still in it.

    Args:
        file: the recipe's YAML file. The file named by its `extends` is merged below it, sizes included.
        name: the recipe's name, a part of the run directory.
        size: a key of the file's `sizes`, whose values go over those of the file; `"default"` is the file itself.
        overrides: `key=value` strings, the value in YAML: `model.lr=0.1`, `data.size=[64,64]`.

    Returns:
        The configuration. Its `run_dir` is the one given or `runs/NAME/SIZE-HASH`, where the hash is taken of what
        is trained, before interpolations are resolved: it depends neither on the clock nor on the hardware.

    Raises:
        ConfigError: the file is missing or malformed, the size is unknown, an override is malformed or a top-level key
            is unknown.
    """
    values = load(file)
    known = sizes(values)
    values.pop("sizes", None)
    if size not in known:
        raise ConfigError(f"There is no size {size!r}. {nearest(size, known)}")
    config: DictConfig = OmegaConf.create(merge(values, known[size] or {}))
    for override in overrides:
        _apply(config, override)
    for section, allowed in ALLOWED.items():
        given = OmegaConf.select(config, section) if section else config
        check_names(section, given, allowed)
    if config.get("run_dir") is None:
        config["run_dir"] = f"runs/{name}/{size}-{fingerprint(config)}"
    return config


def sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the sizes of a recipe change in it; the default size changes nothing."""
    given = values.get("sizes") or {}
    check_names("sizes", given, None)
    return {"default": None, **given}


def load(file: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML file merged over the one that it extends.

    Raises:
        ConfigError: the file is missing, extends itself or is not a YAML mapping; the message names file and line.
    """
    if not file.is_file():
        raise ConfigError(f"The file {str(file)!r} does not exist.")
    if file.resolve() in extended_by:
        raise ConfigError(f"{file}: `extends` must not lead back to the file itself.")
    try:
        values: Any = OmegaConf.to_container(OmegaConf.load(file))
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{file}{line}: {error.problem}.") from error
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {_first_line(error)}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file} must hold a mapping, found a list.")
    base = values.pop("extends", None)
    return merge(load(file.parent / base, (*extended_by, file.resolve())), values) if base else values


def merge(below: Any, above: Any) -> Any:
    """Mappings are merged key by key; anything else in `above` replaces what is in `below`.

    So does a mapping that names another class, since the arguments of the one class are not those of the other.

    >>> merge({"model": {"lr": 0.1, "depth": 2}}, {"model": {"lr": 0.2}})
    {'model': {'lr': 0.2, 'depth': 2}}
    >>> merge({"class_path": "Adam", "init_args": {"eps": 1e-8}}, {"class_path": "SGD"})
    {'class_path': 'SGD'}
    """
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if above.get("class_path", below.get("class_path")) != below.get("class_path"):
        return above
    return below | {key: merge(below[key], value) if key in below else value for key, value in above.items()}


def resolve(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values.

    Raises:
        ConfigError: a value `???` was not given, or an interpolation points nowhere.
    """
    for key, value in leaves(OmegaConf.to_container(config)):
        if value == "???":
            kind = "PATH" if key.rpartition(".")[2] in PATHS else "VALUE"
            raise ConfigError(f"`{key}` must be given: add {key}={kind}")
    try:
        values: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"`{error.full_key}`: {_first_line(error)}.") from error
    return dict(values)


def without_secrets(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration, save that what comes from an environment variable stays an interpolation."""

    def public(raw: Any, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(raw, dict):
            return {key: public(raw[key], item) for key, item in value.items()}
        if isinstance(value, list) and isinstance(raw, list):
            return [public(*pair) for pair in zip(raw, value, strict=True)]
        return raw if isinstance(raw, str) and "${oc.env:" in raw else value

    values: dict[str, Any] = public(OmegaConf.to_container(config), resolve(config))
    return values


def fingerprint(config: DictConfig) -> str:
    """Eight hexadecimal digits that name what is trained: classes, seed, model, data and trainer, unresolved."""
    values: Any = OmegaConf.to_container(config)
    recipe = values.get("recipe") or {}
    classes = [recipe.get("model"), recipe.get("data")]
    trained = json.dumps([classes, {key: values.get(key) for key in TRAINED}], sort_keys=True, default=str)
    return hashlib.sha256(trained.encode()).hexdigest()[:8]


def leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping or list, with its dotted key.

    >>> list(leaves({"data": {"size": [64, 32]}}))
    [('data.size.0', 64), ('data.size.1', 32)]
    """
    if not isinstance(values, (dict, list)):
        yield prefix, values
        return
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def check_names(section: str, values: Any, allowed: Collection[str] | None) -> None:
    """`values` must be a mapping, or None, with no other key than those allowed; the error names the nearest one."""
    if values is not None and not isinstance(values, (dict, DictConfig)):
        raise ConfigError(f"`{section}` must be a mapping, found {values!r}.")
    for name in map(str, values or ()):
        if allowed is not None and name not in allowed:
            key = f"{section}.{name}" if section else name
            raise ConfigError(f"`{key}` does not exist. {nearest(name, allowed)}")


def _apply(config: DictConfig, override: str) -> None:
    key, equals, text = override.partition("=")
    if not (key and equals):
        raise ConfigError(f"{override!r} must be key=value, for example model.lr=0.1")
    try:
        # of a whole override, from_dotlist would make a mapping out of a list's index
        parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))
        value = parsed["value"]
        OmegaConf.update(config, key, value, merge=not (isinstance(value, dict) and "class_path" in value))
    except YAMLError as error:
        raise ConfigError(f"`{key}` must be a value in YAML, found {text!r}.") from error
    except (OmegaConfBaseException, AssertionError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"{override!r} cannot be applied: {_first_line(error)}.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
