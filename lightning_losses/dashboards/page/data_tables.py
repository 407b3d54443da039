"""Tables that runs have logged, as the page shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_losses.dashboards.segment import Cell, Table

MOST = 50
"""Rows of one table."""


@dataclass(frozen=True)
class DataTable:
    """A table on the page.

    Args:
        run: whose.
        key: under which it was logged.
        step: when.
        columns: their names.
        rows: the first ones, as text.
        left_out: how many rows follow.
    """

    run: int
    key: str
    step: int
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: int


def data_tables(run: int, tables: Sequence[Table]) -> list[DataTable]:
    """Of every key the last table."""
    last = {table.key: table for table in tables}
    return [
        DataTable(
            run,
            table.key,
            table.step,
            table.columns,
            [[_text(cell) for cell in row] for row in table.rows[:MOST]],
            max(0, len(table.rows) - MOST),
        )
        for table in last.values()
    ]


def _text(cell: Cell) -> str:
    """Numbers in four digits.

    >>> _text(0.123456), _text(3.0), _text(None), _text("cat")
    ('0.1235', '3', '', 'cat')
    """
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
