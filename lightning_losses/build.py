"""From plain dicts, as YAML holds them, to a LossModule."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from lightning_losses import balancers, losses, schedules
from lightning_losses.balancers import Balancer
from lightning_losses.bounds import Bounds
from lightning_losses.checks import message, nearest
from lightning_losses.module import LossModule
from lightning_losses.schedules import Schedule
from lightning_losses.term import Term

Made = TypeVar("Made")


def build_loss_module(config: Mapping[str, Any]) -> LossModule:
    """Build a `LossModule` from plain dicts.

    A class is named by its short name (``Dice``), its dotted path, or, with arguments, as LightningCLI writes it:
    ``{"class_path": "Dice", "init_args": {"smoothing": 1.0}}``. A term is such a loss, or the arguments of `Term`, or
    None to leave out a term that a base configuration has.

    Raises:
        TypeError, ValueError: an unknown name or key; the message names it, where it stands, and the nearest right one.

    >>> build_loss_module({
    ...     "terms": {
    ...         "robust": {"loss": {"class_path": "SmoothL1", "init_args": {"beta": 0.5}}, "weight": 2.0},
    ...     },
    ...     "balancer": {"class_path": "GradNorm", "init_args": {"alpha": 0.5}},
    ... })
    LossModule(2 * robust[SmoothL1(beta=0.5)](input, target), balanced by GradNorm(alpha=0.5))
    """
    arguments = _arguments(LossModule, config, "criterion")
    terms = arguments.get("terms")
    if not isinstance(terms, Mapping):
        raise TypeError(message("criterion.terms", "a mapping from names to terms", terms))
    built = {name: _term(term, f"criterion.terms.{name}") for name, term in terms.items() if term is not None}
    balancer = arguments.get("balancer")
    if balancer is not None:
        balancer = _instantiate(balancer, balancers, Balancer, "criterion.balancer")
    return LossModule(**{**arguments, "terms": built, "balancer": balancer})


def _term(config: Any, where: str) -> Term:
    if not isinstance(config, Mapping) or "class_path" in config:
        return _make(Term, {"loss": _loss(config, where)}, where)
    arguments = dict(_arguments(Term, config, where))
    if arguments.get("loss") is not None:
        arguments["loss"] = _loss(arguments["loss"], f"{where}.loss")
    if isinstance(arguments.get("weight"), Mapping):
        arguments["weight"] = _instantiate(arguments["weight"], schedules, Schedule, f"{where}.weight")
    if isinstance(arguments.get("bounds"), Mapping):
        arguments["bounds"] = _make(Bounds, _arguments(Bounds, arguments["bounds"], where), where)
    return _make(Term, arguments, where)


def _loss(config: Any, where: str) -> Any:
    if isinstance(config, Mapping) and "terms" in config:
        return build_loss_module(config)
    return _instantiate(config, losses, object, where)


def _instantiate(config: Any, home: Any, base: type, where: str) -> Any:
    """An instance of a class of `home`, or of any dotted path."""
    if isinstance(config, (nn.Module, Schedule)):
        return config  # already built
    spec = config if isinstance(config, Mapping) else {"class_path": config}
    for key in spec.keys() - {"class_path", "init_args"}:
        raise ValueError(f"Unknown key {key!r} in `{where}`. {nearest(key, ('class_path', 'init_args'))}")
    found = _find(spec.get("class_path"), home, where)
    if not inspect.isclass(found):
        return found  # a plain function is a loss as it is
    if not issubclass(found, base) or inspect.isabstract(found):
        raise TypeError(message(where, f"a {base.__name__}", spec["class_path"]))
    return _make(found, _arguments(found, spec.get("init_args") or {}, where), where)


def _make(cls: Callable[..., Made], arguments: Mapping[str, Any], where: str) -> Made:
    """`cls(**arguments)`; an error also says where in the configuration the arguments stand."""
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise type(error)(f"In `{where}`: {error}") from error


def _find(name: Any, home: Any, where: str) -> Any:
    if not isinstance(name, str):
        raise TypeError(message(where, "the name of a class, or class_path with init_args", name))
    if "." not in name:
        if name not in home.__all__ or inspect.isabstract(getattr(home, name)):
            names = [
                n
                for n in home.__all__
                if inspect.isclass(getattr(home, n)) and not inspect.isabstract(getattr(home, n))
            ]
            raise ValueError(f"Unknown name {name!r} in `{where}`. {nearest(name, names)}")
        return getattr(home, name)
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(message(where, "a class that can be imported", name)) from error


def _arguments(target: type, config: Any, where: str) -> Mapping[str, Any]:
    """`config` if all its keys are parameters of `target`."""
    if not isinstance(config, Mapping):
        raise TypeError(message(where, "a mapping of arguments", config))
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return config
    for key in config:
        if key not in parameters:
            raise ValueError(f"Unknown key {key!r} in `{where}`. {nearest(str(key), parameters)}")
    return config
