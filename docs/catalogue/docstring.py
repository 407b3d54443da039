"""A class's docstring, taken apart and turned from reStructuredText into GitHub's markdown."""

import inspect
import re
from dataclasses import dataclass
from textwrap import dedent

SECTIONS = r"\n\n(?=Args:\n|Raises:\n|>>> )"
LEADS = r"(?:For|Range:?|Traps?:|Differs)(?= )"  # they begin the sentences that a reader looks for
RANGE = r"Range:? (?P<range>.*?)(?:,? and no reference|[;.] [Rr]eference:? (?P<reference>.*?))(?:[.:;](?= |$)|$)"


@dataclass(frozen=True)
class Docstring:
    """The parts of a docstring, in markdown.

    Args:
        summary: its first paragraph, and the formula under it if there is one.
        paragraphs: the others; a sentence that begins with one of `LEADS` begins a paragraph.
        arguments: what is said of each argument.
    """

    summary: str
    paragraphs: list[str]
    arguments: dict[str, str]

    @classmethod
    def of(cls, documented: type) -> "Docstring":
        """That of a class."""
        text, *sections = re.split(SECTIONS, inspect.cleandoc(documented.__doc__ or ""))
        summary, *blocks = [part for block in _blocks(text) for part in _split(_markdown(block))]
        if blocks and blocks[0].startswith("```math"):
            summary = f"{summary}\n\n{blocks.pop(0)}"
        arguments = [section for section in sections if section.startswith("Args:")]
        return cls(summary, blocks, _arguments(arguments[0]) if arguments else {})

    def begins(self, lead: str) -> bool:
        """Whether a paragraph begins with this word."""
        return any(re.match(lead, paragraph) for paragraph in self.paragraphs)

    def bounds(self) -> tuple[str, str]:
        """What it says of the range and of the reference."""
        found = next(filter(None, (re.match(RANGE, paragraph) for paragraph in self.paragraphs)), None)
        if found is None:
            raise ValueError(f'No sentence "Range ...; reference ..." in the docstring "{self.summary}"')
        return found["range"], found["reference"] or "none"

    def body(self) -> str:
        """The paragraphs, with the words that lead them in bold."""
        return "\n\n".join(re.sub(rf"^{LEADS}", r"**\g<0>**", paragraph) for paragraph in self.paragraphs)


def _blocks(text: str) -> list[str]:
    """Paragraphs, and with each the indented block that belongs to it."""
    return re.split(r"\n\n(?! )", text)


def _markdown(block: str) -> str:
    if block.startswith(".. math::"):
        return f"```math\n{dedent(block.removeprefix('.. math::')).strip()}\n```"
    prose, _, code = block.partition("::\n\n")
    lines = re.sub(r"\n(?!- )\s*", " ", prose)
    lines = re.sub(r":math:`([^`]*)`", r"$`\1`$", lines)
    lines = re.sub(r"``([^`]*)``", r"`\1`", lines)
    lines = re.sub(r"(`[^`]*`)|(\[[A-Z*][^\]`]*\])", lambda found: found[1] or f"`{found[2]}`", lines)  # shapes
    return f"{lines}:\n\n```python\n{dedent(code)}\n```" if code else lines


def _split(paragraph: str) -> list[str]:
    return re.split(rf"(?<=[.)]) (?={LEADS})", paragraph)


def _arguments(section: str) -> dict[str, str]:
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE)
    return {name: _markdown(text) for name, text in entries}
