"""Check a configuration against the signatures that it is meant for; every error is one sentence with a key in it."""

import re
import reprlib
from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lightning_losses.checks import nearest
from lightning_losses.config import ConfigError, check_names, leaves

WORDS = {
    "float": "a number",
    "int": "an integer",
    "bool": "true or false",
    "str": "a string",
    "dict": "a mapping",
    "list": "a list",
    "Sequence": "a list",
    "Iterable": "a list",
    "NoneType": "null",
}


def check(parser: ArgumentParser, values: Mapping[str, Any], prefix: str = "") -> Namespace:
    """Check names, then the classes inside, then types.

    Args:
        parser: knows the arguments of the classes that are to be built.
        values: the arguments by name, in nested mappings.
        prefix: the dotted key of `values` in the whole configuration.

    Returns:
        The values as the parser reads them.

    Raises:
        ConfigError: a name does not exist, a class cannot be imported, a value is missing or of the wrong type.
    """
    known = set(parser.get_defaults().keys(branches=True))
    _check_names(known, values, prefix)
    for key, node in _classes(values, prefix):
        check_names(key, node, ("class_path", "init_args", "dict_kwargs"))
        _check_class(key, node)
    try:
        parsed: Namespace = parser.parse_object(dict(values))
    except ArgumentError as error:
        raise ConfigError(_reword(error.message, values, prefix)) from error
    return parsed


def _check_names(known: set[str], values: Mapping[str, Any], prefix: str, section: str = "") -> None:
    names = {key.removeprefix(section).partition(".")[0] for key in known if key.startswith(section)}
    check_names((prefix + section).rstrip("."), values, names)
    for name, value in values.items():
        inside = f"{section}{name}."
        if any(key.startswith(inside) for key in known) and isinstance(value, dict) and "class_path" not in value:
            _check_names(known, value, prefix, inside)


def _classes(values: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a dotted class_path, innermost first."""
    if isinstance(values, (dict, list)):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _classes(value, f"{prefix}{key}.")
        if isinstance(values, dict) and "." in str(values.get("class_path")):
            yield prefix.rstrip("."), values


def _check_class(key: str, node: dict[str, Any]) -> None:
    module_name, _, name = str(node["class_path"]).rpartition(".")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not module_name.startswith(error.name):
            raise
        raise ConfigError(f"`{key}.class_path`: there is no module {module_name!r}.") from error
    if name not in vars(module):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"`{key}.class_path`: {module_name} has no {name!r}. {nearest(name, classes)}")
    target = vars(module)[name]
    if isinstance(target, type):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(target, fail_untyped=False)
        check(parser, node.get("init_args") or {}, f"{key}.init_args.")


def _reword(text: str, values: Mapping[str, Any], prefix: str) -> str:
    """The parser's report, several lines of types, as a sentence in the terms of YAML."""
    missing = re.search(r'arguments are required: ([\w.]+)|[Kk]ey "([\w.]+)" is required', text)
    if missing:
        key = prefix + (missing[1] or missing[2])
        return f"`{key}` must be given: add {key}=VALUE"
    unknown = re.search(r"Expected a dot import path string: (\S+)", text)
    for key, value in leaves(values):
        if unknown and value == unknown[1]:
            return f"`{prefix}{key}`: there is no class {value!r}; give its full path, such as package.module.{value}"
    named = re.search(r'[Kk]ey "([^"]+)":', text)
    rule = _rule(text)
    if named is None or not rule:
        return " ".join(text.split())
    found = _lookup(values, named[1])
    choices = re.findall(r"'([^']+)'", rule)
    return f"`{prefix}{named[1]}` must be {rule}, found {reprlib.repr(found)}." + (
        f" {nearest(str(found), choices)}" if choices else ""
    )


def _rule(text: str) -> str:
    """What the parser expected, in words: "an integer or null", "one of 'min', 'max'"."""
    expected = re.findall(r"Expected an? (.+?)(?:\. Got value.*)?$", text, flags=re.MULTILINE)
    literals = " ".join(kind for kind in expected if "Literal" in kind)
    if literals:
        return "one of " + ", ".join(re.findall(r"'[^']+'", literals))
    classes = [f"a {name} with class_path" for name in re.findall(r"Not a valid subclass of (\w+)", text)]
    kinds = sorted(dict.fromkeys(map(_words, expected)), key=lambda kind: kind == "null")
    return " or ".join([*classes, *kinds])


def _words(kind: str) -> str:
    name = re.sub(r"<class '(.+)'>", r"\1", kind).partition("[")[0].rpartition(".")[2]
    return WORDS.get(name, name)


def _lookup(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
