"""Parameters by layer."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import Tensor, nn

from lightning_losses.checks import nearest

OTHER = "other"
"""The group of parameters that no pattern matches, or that the model does not name."""


class LayerGroups:
    """Names a group for every parameter: the first `depth` modules of its path, or the pattern that matches it.

    Names are made once, before anything is sharded or compiled, so they are the same in every run of a model.

    Args:
        model: the model whose parameters are named.
        depth: of how many modules a group's name is made.
        patterns: instead of `depth`, names of groups and the shell-style patterns of their parameters' paths; the first
            match holds.

    Raises:
        ValueError: a pattern matches no parameter; the message names the nearest.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))
    >>> list(LayerGroups(net, depth=1).split(net.parameters()))
    ['0', '1']
    >>> list(LayerGroups(net, patterns={"biases": "*bias"}).split(net.parameters()))
    ['other', 'biases']
    """

    def __init__(self, model: nn.Module, depth: int = 2, patterns: Mapping[str, str] | None = None) -> None:
        paths = {id(p): name.replace("_orig_mod.", "") for name, p in model.named_parameters()}
        for name, pattern in (patterns or {}).items():
            if not any(fnmatchcase(path, pattern) for path in paths.values()):
                raise ValueError(
                    f"`groups[{name!r}]` must match a parameter, found {pattern!r}. {nearest(pattern, paths.values())}"
                )
        self._names = {
            key: _prefix(path, depth) if patterns is None else _first_match(path, patterns)
            for key, path in paths.items()
        }

    def split(self, parameters: Iterable[Tensor]) -> dict[str, list[Tensor]]:
        """The parameters that require a gradient, by group, in the order in which the groups first occur."""
        groups: dict[str, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.requires_grad:
                groups.setdefault(self._names.get(id(parameter), OTHER), []).append(parameter)
        return groups


def _prefix(path: str, depth: int) -> str:
    *modules, name = path.split(".")
    return ".".join(modules[:depth]) or name


def _first_match(path: str, patterns: Mapping[str, str]) -> str:
    return next((name for name, pattern in patterns.items() if fnmatchcase(path, pattern)), OTHER)
