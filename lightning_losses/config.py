"""A recipe's configuration: the file, then a size, then overrides, then the run directory, then interpolations."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_losses.checks import nearest
from lightning_losses.resolvers import register

TRAINED = ("seed_everything", "model", "data", "trainer")
ALLOWED = {
    "": (*TRAINED, "recipe", "reference", "run_dir"),
    "recipe": ("title", "model", "data"),
    "reference": ("metric", "value", "mode", "tolerance", "minutes", "hardware", "source"),
}
PATHS = ("root", "path", "dir", "folder", "file")

register()


class ConfigError(ValueError):
    """The command line or a recipe's file is wrong; the message is one line in the user's terms."""


def compose(file: Path, name: str, size: str = "default", overrides: Sequence[str] = ()) -> DictConfig:
    """A recipe's configuration with its interpolations still in it.

    Args:
        file: the recipe's YAML file. `extends: other.yaml` in it is merged below it, sizes included.
        name: the recipe's name, a part of the run directory.
        size: a key of the file's `sizes`, whose values replace those of the file; `"default"` is the file itself.
        overrides: `key=value` strings, the value in YAML: `model.lr=0.1`, `data.size=[64,64]`, `trainer.callbacks.0=...`.

    Returns:
        The configuration. Its `run_dir` is the one given or `runs/NAME/SIZE-HASH`, where the hash is taken of what
        is trained, before interpolations are resolved: it depends neither on the clock nor on the hardware.

    Raises:
        ConfigError: the file is missing or malformed, the size is unknown, an override is malformed or a top-level key
            is unknown.
    """
    config = load(file)
    config = _with_size(config, config.pop("sizes", None) or {}, size)
    for override in overrides:
        _apply(config, override)
    for section, allowed in ALLOWED.items():
        check_names(section, OmegaConf.select(config, section) if section else config, allowed)
    if config.get("run_dir") is None:
        config["run_dir"] = f"runs/{name}/{size}-{fingerprint(config)}"
    return config


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
        return {str(key): value for key, value in OmegaConf.to_container(config, resolve=True).items()}  # type: ignore[union-attr]
    except OmegaConfBaseException as error:
        raise ConfigError(f"`{error.full_key}`: {_first_line(error)}.") from error


def without_secrets(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration, save that what comes from an environment variable stays an interpolation."""

    def merged(raw: Any, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(raw, dict):
            return {key: merged(raw[key], item) for key, item in value.items()}
        if isinstance(value, list) and isinstance(raw, list):
            return [merged(*pair) for pair in zip(raw, value, strict=True)]
        return raw if isinstance(raw, str) and "${oc.env:" in raw else value

    resolved: dict[str, Any] = merged(OmegaConf.to_container(config), resolve(config))
    return resolved


def fingerprint(config: DictConfig) -> str:
    """Eight hexadecimal digits that name what is trained: classes, seed, model, data and trainer, unresolved."""
    values: Any = OmegaConf.to_container(config)
    recipe = values.get("recipe") or {}
    classes = [recipe.get("model"), recipe.get("data")]
    trained = json.dumps([classes, {key: values.get(key) for key in TRAINED}], sort_keys=True, default=str)
    return hashlib.sha256(trained.encode()).hexdigest()[:8]


def load(file: Path, extended_by: tuple[Path, ...] = ()) -> DictConfig:
    """A YAML file merged over the one that it extends.

    Raises:
        ConfigError: the file is missing, extends itself or is not a YAML mapping; the message names file and line.
    """
    if not file.is_file():
        raise ConfigError(f"The file {str(file)!r} does not exist.")
    if file.resolve() in extended_by:
        raise ConfigError(f"{file}: `extends` must not lead back to the file itself.")
    try:
        config = OmegaConf.load(file)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{file}{line}: {error.problem}.") from error
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {_first_line(error)}.") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{file} must hold a mapping, found a list.")
    base = config.pop("extends", None)
    if base is None:
        return config
    return _merge(load(file.parent / base, (*extended_by, file.resolve())), config, str(file))


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


def check_names(section: str, values: Any, allowed: Iterable[str]) -> None:
    """Every key of `values`, a mapping or None, must be one of `allowed`; the error names the nearest one."""
    if values is not None and not isinstance(values, (dict, DictConfig)):
        raise ConfigError(f"`{section}` must be a mapping, found {values!r}.")
    for name in values or ():
        if name not in allowed:
            key = f"{section}.{name}" if section else name
            raise ConfigError(f"`{key}` does not exist. {nearest(str(name), allowed)}")


def _with_size(config: DictConfig, sizes: Mapping[Any, Any], size: str) -> DictConfig:
    if size == "default":
        return config
    if size not in sizes:
        raise ConfigError(f"There is no size {size!r}. {nearest(size, ['default', *map(str, sizes)])}")
    return _merge(config, sizes[size] or {}, f"size {size!r}")


def _merge(below: DictConfig, above: Any, source: str) -> DictConfig:
    try:
        _drop_replaced_classes(below, above)
        merged = OmegaConf.merge(below, above)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {_first_line(error)}.") from error
    assert isinstance(merged, DictConfig)
    return merged


def _drop_replaced_classes(below: DictConfig, above: Any) -> None:
    """Where `above` names another class, the arguments of the class in `below` do not apply to it."""
    for key in above:
        old, new = OmegaConf.select(below, str(key)), OmegaConf.select(above, str(key))
        if isinstance(old, DictConfig) and isinstance(new, DictConfig):
            if new.get("class_path") not in (None, old.get("class_path")):
                below.pop(key)
            else:
                _drop_replaced_classes(old, new)


def _apply(config: DictConfig, override: str) -> None:
    key, equals, value = override.partition("=")
    if not (key and equals):
        raise ConfigError(f"{override!r} must be key=value, for example model.lr=0.1")
    try:
        # from_dotlist reads the value alone: on the whole override it would make a mapping out of a list's index
        parsed: Any = OmegaConf.from_dotlist([f"value={value}"])
        OmegaConf.update(config, key, parsed["value"], merge="class_path" not in parsed["value"])
    except yaml.YAMLError as error:
        raise ConfigError(f"`{key}` must be a value in YAML, found {value!r}.") from error
    except (OmegaConfBaseException, AssertionError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"{override!r} cannot be applied: {_first_line(error)}.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
