"""What all pictures share: dark on nothing, three colours that the style sheet can turn round for the dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PICTURES = Path(__file__).parents[1] / "pictures"
BLUE, ORANGE, GREEN, GREY, INK = "#2563eb", "#ea580c", "#059669", "#94a3b8", "#1f2937"
STYLE = {
    "svg.hashsalt": "lightning-losses",  # the same bytes in every run
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
}


@contextmanager
def figure(name: str, columns: int = 1, width: float = 7.2, height: float = 2.8) -> Iterator[list[Axes]]:
    """Axes side by side, written to docs/pictures when they are drawn."""
    with plt.rc_context(STYLE):
        drawn, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
        yield list(axes[0])
        save(drawn, name)
        plt.close(drawn)


def save(drawn: Figure, name: str) -> None:
    """As SVG, with no more digits than a screen shows."""
    text = io.StringIO()
    drawn.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    PICTURES.mkdir(exist_ok=True)
    short = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text.getvalue())
    (PICTURES / f"{name}.svg").write_text(short)


def title(axes: Axes, text: str) -> None:
    """A heading at the left."""
    axes.set_title(text, loc="left", fontsize=10, fontweight="bold")
