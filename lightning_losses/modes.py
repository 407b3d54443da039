"""Modes of modules, put back."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*parts: object) -> Iterator[None]:
    """Modules in evaluation mode; afterwards each is in the mode it was in. What is no module is left alone.

    >>> net = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with evaluating(net):
    ...     [module.training for module in net]
    [False, False]
    >>> [module.training for module in net]
    [True, False]
    """
    modes = [(module, module.training) for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training
