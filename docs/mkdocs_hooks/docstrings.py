"""Docstrings, which are reStructuredText in Google's sections, as the markdown that mkdocstrings reads."""

import re
from textwrap import dedent, indent
from typing import Any

from griffe import Docstring, Extension, Object

MATH = re.compile(r"^( *)\.\. math::(?: *(\S.*))?\n((?:\1 +.*\n|\n)*)", re.MULTILINE)
LITERAL = re.compile(r"^( *)(\S.*):(:)\n\n((?:\1 +.*\n|\n)+)", re.MULTILINE)
SHAPE = re.compile(r"(```.*?\n *```|`[^`]*`)|(\[[A-Z*][^\]`]*\](?!\())", re.DOTALL)
EXAMPLE = re.compile(r"^( *)(>>> (?:.*\S.*\n)*)", re.MULTILINE)


def markdown(text: str) -> str:
    r"""The same text in markdown.

    >>> markdown("The norm :math:`n_i` of ``x`` [T], see `MGDA <https://a.b>`_.")
    'The norm $`n_i`$ of `x` `[T]`, see [MGDA](https://a.b).'
    >>> markdown(".. math:: a = b\n\n>>> 1\n1")
    '```math\na = b\n```\n\n```pycon\n>>> 1\n1\n```'
    """
    text = MATH.sub(lambda found: _fence("math", found[1], f"{found[2] or ''}\n{dedent(found[3])}"), f"{text}\n")
    text = LITERAL.sub(lambda found: f"{found[1]}{found[2]}:\n\n{_fence('python', found[1], dedent(found[4]))}", text)
    text = EXAMPLE.sub(lambda found: _fence("pycon", found[1], dedent(found[1] + found[2])), text)
    text = re.sub(r":math:`([^`]*)`", lambda found: f"$`{' '.join(found[1].split())}`$", text)
    text = re.sub(r"(?<!`)``(?!`)([^`]*)``(?!`)", r"`\1`", text)
    text = re.sub(r"`([^`<]+?)\s+<([^`>]+)>`_", r"[\1](\2)", text)
    return SHAPE.sub(lambda found: found[1] or f"`{found[2]}`", text).strip()


def _fence(language: str, margin: str, content: str) -> str:
    return indent(f"```{language}\n{content.strip()}\n```\n\n", margin)


class Markdown(Extension):
    """What griffe calls for every object that it has read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Turn its docstring."""
        if isinstance(obj.docstring, Docstring):
            obj.docstring.value = markdown(obj.docstring.value)
