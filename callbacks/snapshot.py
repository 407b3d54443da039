"""What a module holds besides its parameters and buffers, kept and put back."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LARGEST = 1000
"""Of longer containers the entries are put back, but not what the entries themselves hold."""

Restore = Callable[[], None]


@contextmanager
def unchanged(root: nn.Module) -> Iterator[None]:
    """Puts back the attributes of a module and its submodules, whatever happens inside, an error included.

    Put back are which objects the attributes are (counters, modes, hooks, cached tensors), what tensors, lists, dicts,
    sets and deques among them hold (states of metrics, running lists), and the states of random generators. An object
    of another class is put back as it is, whatever has happened inside it. Contents of parameters and buffers are the
    caller's: `torch.func.functional_call` gives the module others for the time.

    Args:
        root: the module.
    """
    attributes = [(module, dict(vars(module))) for module in root.modules()]
    restores = list(_keep_modules([names for _, names in attributes]))
    try:
        yield
    finally:
        for restore in restores:
            restore()
        for module, names in attributes:
            vars(module).clear()
            vars(module).update(names)


TABLES = frozenset(vars(nn.Module()))
"""Torch's own attributes of a module: tables of parameters, buffers, submodules and hooks."""


def _keep_modules(attributes: Iterable[dict[str, Any]]) -> Iterator[Restore]:
    seen: set[int] = set()
    for names in attributes:
        yield from _keep_all((value for name, value in names.items() if name not in TABLES), seen)
        for table in (names[name] for name in TABLES):
            if isinstance(table, (dict, set)):
                yield partial(_refill, table, table.copy())


def _keep_all(values: Iterable[Any], seen: set[int]) -> Iterator[Restore]:
    for value in values:
        if id(value) not in seen:
            seen.add(id(value))
            yield from _keep(value, seen)


def _keep(value: Any, seen: set[int]) -> Iterator[Restore]:
    """What puts back the contents of `value`, inner contents first; nothing for objects of other classes."""
    if isinstance(value, nn.Parameter):
        return
    if isinstance(value, Tensor):
        yield _keep_tensor(value)
    elif isinstance(value, dict):
        yield from _keep_all(value.values() if len(value) <= LARGEST else (), seen)
        yield partial(_refill, value, value.copy())
    elif isinstance(value, (list, deque, set)):
        yield from _keep_all(value if len(value) <= LARGEST else (), seen)
        yield partial(_refill, value, value.copy())
    elif isinstance(value, torch.Generator):
        yield partial(_call, value.set_state, value.get_state())
    elif isinstance(value, random.Random):
        yield partial(_call, value.setstate, value.getstate())
    elif isinstance(value, np.random.Generator):
        yield partial(setattr, value.bit_generator, "state", value.bit_generator.state)


def _keep_tensor(tensor: Tensor) -> Restore:
    version, copy = tensor._version, tensor.detach().clone()

    def restore() -> None:
        if tensor.shape != copy.shape:
            tensor.data = copy
        elif tensor._version != version:  # `data`: a graph that has saved the tensor sees it as it was
            tensor.data.copy_(copy)

    return restore


def _call(setter: Callable[[Any], Any], state: Any) -> None:
    setter(state)


def _refill(container: Any, items: Any) -> None:
    container.clear()
    container.extend(items) if isinstance(container, (list, deque)) else container.update(items)
