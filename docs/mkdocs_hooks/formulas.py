"""Formulas as MathML, written when the site is built, so that the pages need no script for them; and their font."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

SPACING = {
    "<mo>(&#x02016;|&#x0007C;|\\|)</mo>": r'<mo stretchy="false">\1</mo>',  # bars as high as the line
    "<mo>(&#x0002F;|/)</mo>": r'<mo lspace="0" rspace="0">\1</mo>',
    "<mo>&#x0221E;</mo>": "<mi>&#x0221E;</mi>",
    "<mo>([A-Za-z]{2,})</mo>": r"<mi>\1</mi>",
    r"(?<!<msub>)(<mi>(?:[A-Za-z]{2,})</mi>)(?=<m(?:i|n|sub|sup|subsup|frac|sqrt)>)": r'\1<mspace width="0.17em" />',
}
"""What is to be set as LaTeX would set it, and how."""


def mathml(latex: str, display: str = "inline") -> str:
    r"""A formula in the browser's own language.

    >>> mathml("x")
    '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mi>x</mi></mrow></math>'
    """
    text = convert(" ".join(latex.split()), display=display)
    for pattern, spaced in SPACING.items():
        text = re.sub(pattern, spaced, text)
    return text


def block(source: str, *_: Any, **__: Any) -> str:
    """What superfences make of ```math."""
    return f'<div class="formula">{mathml(source, "block")}</div>'


class Formulas(Extension):
    """Formulas between $` and `$, as GitHub has them."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Before code spans, which the backticks would make of them."""
        md.inlinePatterns.register(_Inline(r"\$`(.+?)`\$", md), "formula", 200)


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element | str, int, int]:  # type: ignore[override]
        return self.md.htmlStash.store(mathml(m[1])), m.start(0), m.end(0)


def write_font(path: Path) -> None:
    """STIX Two Math (SIL Open Font License), which ziamath brings along, without the characters that formulas lack."""
    ranges = [(0x20, 0x17F), (0x2C0, 0x3FF), (0x2000, 0x22FF), (0x2308, 0x230B), (0x23DC, 0x23DF), (0x27E8, 0x27EB)]
    ranges.append((0x1D400, 0x1D7FF))
    package = find_spec("ziamath")
    assert package is not None
    assert package.origin is not None
    font = TTFont(Path(package.origin).parent / "fonts" / "STIXTwoMath-Regular.ttf")
    subsetter = Subsetter(Options(layout_features=["ssty", "dtls", "flac", "kern"], notdef_outline=True))
    subsetter.populate(unicodes=[code for first, last in ranges for code in range(first, last + 1)])
    subsetter.subset(font)
    path.parent.mkdir(parents=True, exist_ok=True)
    font.save(path)
