"""Boxes and arrows as SVG."""

from html import escape
from pathlib import Path

from drawing.style import GREY, INK

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


class Canvas:
    """A drawing that is read from left to right; all lengths are in its own units.

    Args:
        width: of the drawing.
        height: of the drawing.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, *lines: str, color: str = INK) -> None:
        """A box about (x, y), its centre; the first line is bold."""
        self.parts.append(
            f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" rx="7" '
            f'fill="{color}" fill-opacity="0.08" stroke="{color}" stroke-width="1.5"/>'
        )
        top = y - 9 * (len(lines) - 1)
        for row, line in enumerate(lines):
            self.text(x, top + 18 * row, line, bold=row == 0, color=INK)

    def text(
        self,
        x: float,
        y: float,
        line: str,
        *,
        bold: bool = False,
        color: str = INK,
        anchor: str = "middle",
        size: int = 13,
    ) -> None:
        """A line of text, its middle at y."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y + size / 3:g}" text-anchor="{anchor}" font-size="{size}" fill="{color}"{weight}>'
            f"{escape(line)}</text>"
        )

    def arrow(self, *points: tuple[float, float], color: str = GREY, dashed: bool = False) -> None:
        """A line through the points that ends in a head."""
        path = " L".join(f"{x:g},{y:g}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        head = f"head-{color.removeprefix('#')}"
        self.parts.append(
            f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="1.8"{dash} marker-end="url(#{head})"/>'
        )

    def write(self, path: Path) -> None:
        """As a file of its own."""
        body = "\n".join(self.parts)
        colors = sorted({part.split("#head-")[1].split(")")[0] for part in self.parts if "#head-" in part})
        heads = "".join(
            f'<marker id="head-{color}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#{color}"/></marker>'
            for color in colors
        )
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="{FONT}">\n<defs>{heads}</defs>\n{body}\n</svg>\n'
        )
