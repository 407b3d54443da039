"""The patterns of panels as regular expressions, in the syntax that Go, JavaScript and Python share.

That syntax has no way to say "but not", so what other panels have taken is left out letter by letter.
"""

import re
from collections.abc import Sequence


def regex_of(pattern: str, taken: Sequence[str] = ()) -> str:
    """What a shell-style pattern matches, without what the patterns `taken` match.

    Args:
        pattern: with any number of ``*`` and ``[0-9]``.
        taken: patterns whose only ``*``, if any, is their last letter. Those count that begin with what stands before
            the ``*`` that ends `pattern`.

    Raises:
        ValueError: nothing is left.

    >>> regex_of("gradients/[0-9]/norm/*")
    'gradients/[0-9]/norm/.*'
    >>> regex_of("val/*", taken=["val/lo"])
    'val/(|[^l].*|l(|[^o].*|o(.+)))'
    """
    if not pattern.endswith("*"):
        return _translated(pattern)
    start = pattern.removesuffix("*")
    rest = _other_than([other.removeprefix(start) for other in taken if other.startswith(start)])
    if rest is None:
        raise ValueError(f"`taken` must leave something of {pattern!r}, found {taken!r}.")
    return _translated(start) + rest


def _other_than(taken: Sequence[str]) -> str | None:
    """Any text that is none of those taken; None if all are."""
    if not taken:
        return ".*"
    if "*" in taken:
        return None
    by_letter: dict[str, list[str]] = {}
    for text in filter(None, taken):
        by_letter.setdefault(text[0], []).append(text[1:])
    if not by_letter:
        return "(.+)"
    ways = [] if "" in taken else [""]
    ways.append(f"[^{''.join(re.sub(r'([]^-])', _escape, letter) for letter in by_letter)}].*")
    for letter, rests in by_letter.items():
        if (way := _other_than(rests)) is not None:
            ways.append(_translated(letter) + way)
    return f"({'|'.join(ways)})"


def _translated(pattern: str) -> str:
    parts = re.split(r"(\*|\[[^]]*\])", pattern)
    return "".join(
        ".*" if part == "*" else part if part.startswith("[") else re.sub(r"([.^$+?(){}|\\])", _escape, part)
        for part in parts
    )


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[0]}"
