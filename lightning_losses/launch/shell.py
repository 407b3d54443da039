"""Words in a shell script, exactly as they were given."""

import re
import shlex
from collections.abc import Iterable

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def word(text: str) -> str:
    r"""`text` as one word of bash on one line.

    >>> print(word('a=[1, "b c"]'), word("model.lr=0.1"))
    'a=[1, "b c"]' model.lr=0.1
    >>> print(word("two\nlines"))
    $'two\nlines'
    """
    return f"$'{''.join(map(_escaped, text))}'" if CONTROL.search(text) else shlex.quote(text)


def line(words: Iterable[str]) -> str:
    """Several words on one line."""
    return " ".join(map(word, words))


def lines(words: Iterable[str], width: int = 110, indent: str = "    ") -> str:
    r"""Several words, continued on the next line wherever one would pass `width`.

    >>> print(lines(["fit", "segmentation", "model.lr=0.1"], width=20))
    fit segmentation \
        model.lr=0.1
    """
    rows = [""]
    for text in map(word, words):
        longer = f"{rows[-1]} {text}".lstrip()
        rows[-1:] = [longer] if not rows[-1] or len(longer) <= width else [rows[-1], text]
    return f" \\\n{indent}".join(rows)


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character == "\n":
        return "\\n"
    if not CONTROL.match(character):
        return character
    # what Python could not decode stands for single bytes
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
