"""What the page shows, section by section, before it is written as HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from lightning_losses.dashboards.history import History
from lightning_losses.dashboards.page.charts import Chart, Charts
from lightning_losses.dashboards.page.data_tables import DataTable, data_tables
from lightning_losses.dashboards.page.matrix import Matrix, matrix
from lightning_losses.dashboards.page.pictures import Picture, pictures
from lightning_losses.dashboards.panels import SECTIONS, Panel, Section, place


@dataclass(frozen=True)
class Figures:
    """Values that were logged once, or never changed, as a table.

    Args:
        rows: of each key the value in every run.
        is_course: whether they were logged more than once.
    """

    rows: Mapping[str, Sequence[float | None]]
    is_course: bool


@dataclass
class Block:
    """A panel with what there is to show of it."""

    anchor: str
    panel: Panel
    charts: list[Chart] = field(default_factory=list)
    figures: Figures | None = None
    matrices: list[tuple[int, Matrix]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[DataTable] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """A section with its blocks."""

    anchor: str
    section: Section
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Content:
    """Everything that is drawn.

    Args:
        parts: the sections that have something to show.
        anchors: where a key is shown.
        data: what the script of the page reads.
    """

    parts: Sequence[Part]
    anchors: Mapping[str, str]
    data: Mapping[str, Any]


def contents(histories: Sequence[History], names: Sequence[str]) -> Content:
    """Put what runs have logged where the panels say; what no panel takes comes last, under its own first word."""
    keys = sorted({key for history in histories for key in history.series}, key=_natural)
    shown = [picture for run, history in enumerate(histories) for picture in pictures(run, history.images)]
    tables = [table for run, history in enumerate(histories) for table in data_tables(run, history.tables)]
    placed = place(keys, *(dict.fromkeys(medium.key for medium in media) for media in (shown, tables)))
    taken = {key for its in placed.values() for key in its}
    rest = _rest([key for key in keys if key not in taken])
    charts, anchors, parts = Charts(histories, names), dict[str, str](), list[Part]()
    for number, section in enumerate([*SECTIONS, *([rest] if rest.panels else [])]):
        blocks = list[Block]()
        for panel in section.panels:
            its = placed.get(panel) or [key for key in keys if key not in taken and panel.takes(key)]
            if its:
                block = Block(f"panel-{number}-{len(blocks)}", panel)
                block.pictures = [picture for picture in shown if panel.kind == "image" and picture.key in its]
                block.tables = [table for table in tables if panel.kind == "table" and table.key in its]
                if panel.media is None:
                    _fill(block, its, charts)
                    anchors |= dict.fromkeys(its, block.anchor)
                blocks.append(block)
        if blocks:
            parts.append(Part(f"section-{number}", section, blocks))
    return Content(parts, anchors, _data(charts))


def _fill(block: Block, keys: Sequence[str], charts: Charts) -> None:
    """Draw numbers."""
    values = {key: [_values(history, key) for history in charts.histories] for key in keys}
    single = [key for key in keys if all(len(its) <= 1 for its in values[key])]
    if all(len(set(its)) <= 1 for key in keys for its in values[key]):
        single = list(keys)
    if single:
        rows = {key: [its[0] if its else None for its in values[key]] for key in single}
        block.figures = Figures(rows, any(len(its) > 1 for key in single for its in values[key]))
    if courses := [key for key in keys if key not in single]:
        block.charts = charts.of(block.panel, courses)
    if block.panel.kind == "matrix":
        found = ((run, matrix(history.series)) for run, history in enumerate(charts.histories))
        block.matrices = [(run, its) for run, its in found if its is not None]


def _values(history: History, key: str) -> list[float]:
    values: list[float] = history.series[key].values.tolist() if key in history.series else []
    return values


def _rest(keys: Sequence[str]) -> Section:
    """Panels for keys that are not ours, those with the same first word together."""
    panels = [
        Panel(first, tuple(_literal(key) for key in its), "")
        for first, its in groupby(keys, lambda key: key.split("/")[0])
    ]
    return Section("Everything else", tuple(panels), "What else was logged.")


def _literal(key: str) -> str:
    """A pattern that only this key matches."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in key)


def _natural(key: str) -> tuple[tuple[bool, int, str], ...]:
    """Numbers in keys in the order of their values: class 2 before class 10."""
    pieces = ("".join(its) for _, its in groupby(key, str.isdecimal))
    return tuple((not piece.isdecimal(), int(piece) if piece.isdecimal() else 0, piece) for piece in pieces)


def _data(charts: Charts) -> dict[str, Any]:
    return {"charts": charts.specs, "arrays": charts.arrays.encoded(), "extent": charts.extent}
