"""A panel takes the logged keys that match its patterns; a section is panels under one heading."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal["line", "band", "matrix", "image", "table"]
"""``band``: lines ``a/x`` with a shade from ``a_lower/x`` to ``a_upper/x``, see `edges`. ``matrix``: lines of pairs
``.../a-b``, of which a page may draw the last values as a matrix."""


@dataclass(frozen=True)
class Panel:
    """One picture.

    Args:
        title: its heading.
        keys: shell-style patterns of the keys that it shows; ``*`` stands for slashes too.
        about: how to read it, in one plain sentence.
        kind: how it is drawn.
        smoothing: of lines, from 0 to below 1: the weight of the exponential running mean.
        log: whether the vertical axis is logarithmic.
        summary: which value of a whole run stands for it where runs are compared in one number.
    """

    title: str
    keys: tuple[str, ...]
    about: str
    kind: Kind = "line"
    smoothing: float = 0.0
    log: bool = False
    summary: Literal["last", "min", "max"] = "last"

    @property
    def media(self) -> str | None:
        """The kind, if it is not one of numbers."""
        return self.kind if self.kind in ("image", "table") else None

    def takes(self, key: str) -> bool:
        """Whether a pattern matches."""
        return any(fnmatchcase(key, pattern) for pattern in self.keys)


@dataclass(frozen=True)
class Section:
    """Panels under one heading.

    Args:
        title: the heading.
        panels: in the order in which they are shown.
        about: what the section tells, in one plain sentence.
    """

    title: str
    panels: tuple[Panel, ...]
    about: str


def edges(key: str) -> tuple[str, str]:
    """The keys of the lower and the upper edge of a band.

    >>> edges("curvature/trace/total")
    ('curvature/trace_lower/total', 'curvature/trace_upper/total')
    >>> edges("curvature/critical")
    ('curvature/critical_lower', 'curvature/critical_upper')
    """
    prefix, name, *rest = key.split("/")
    lower, upper = ("/".join([prefix, f"{name}_{edge}", *rest]) for edge in ("lower", "upper"))
    return lower, upper


def band(*keys: str) -> tuple[str, ...]:
    """Keys with those of their edges, for a panel of bands."""
    return tuple(part for key in keys for part in (key, *edges(key)))
