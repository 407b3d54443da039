"""Carry the comments of YAML files over to a YAML text that has the same keys."""

from collections.abc import Iterator
from itertools import takewhile

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str, ...]
Entry = tuple[Node, Node]


def with_comments(text: str, *sources: str) -> str:
    r"""`text` with the comments above a key or behind its value in the first of the sources that has the key.

    >>> print(with_comments("model:\n  lr: 0.2", "# A net.\nmodel:\n  lr: 0.1 # tuned"))
    # A net.
    model:
      lr: 0.2 # tuned
    """
    lines = text.splitlines()
    comments = _comments(*sources)
    for path, (key, value) in reversed(list(_entries(yaml.compose(text), ()))):
        above, behind = comments.get(path, ([], ""))
        if behind:
            lines[_last_mark(key, value).line] += f" {behind}"
        start = key.start_mark.line
        indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
        lines[start:start] = [indent + line if line else "" for line in above]
    first = sources[0].splitlines() if sources else []
    header = list(takewhile(lambda line: line[:1] in ("", "#"), first))
    return "\n".join(lines if lines[: len(header)] == header else [*header, *lines])


def _comments(*sources: str) -> dict[Path, tuple[list[str], str]]:
    """By key: the lines above it and the comment behind its value."""
    found: dict[Path, tuple[list[str], str]] = {}
    for source in sources:
        lines = source.splitlines()
        for path, (key, value) in _entries(yaml.compose(source), ()):
            found.setdefault(path, (_above(lines, key), _behind(lines, _last_mark(key, value))))
    return found


def _entries(node: Node | None, path: Path) -> Iterator[tuple[Path, Entry]]:
    """Every key of a document with its value; an item of a list goes by its class_path or its index."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield (*path, key.value), (key, value)
            yield from _entries(value, (*path, key.value))
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            pairs = item.value if isinstance(item, MappingNode) else []
            label = [value.value for key, value in pairs if key.value == "class_path"]
            yield from _entries(item, (*path, *(label or [str(index)])))


def _above(lines: list[str], key: Node) -> list[str]:
    """The comments and blank lines directly above a key that is the first thing on its line."""
    line = key.start_mark.line
    if lines[line][: key.start_mark.column].strip(" -"):
        return []
    start = line
    while start > 0 and lines[start - 1].lstrip()[:1] in ("", "#"):
        start -= 1
    return [text.strip() for text in lines[start:line]]


def _behind(lines: list[str], mark: yaml.Mark) -> str:
    rest = lines[mark.line][mark.column :].lstrip(": ") if mark.line < len(lines) else ""
    return rest if rest.startswith("#") else ""


def _last_mark(key: Node, value: Node) -> yaml.Mark:
    """Where a comment would start: behind the value, or behind the key of a value that begins on the next line."""
    is_block = isinstance(value, CollectionNode) and not value.flow_style
    is_literal = isinstance(value, ScalarNode) and value.style in ("|", ">")
    return key.end_mark if is_block or is_literal else value.end_mark
