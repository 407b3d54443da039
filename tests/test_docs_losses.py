"""docs/losses.md is what the generator makes of the classes as they are."""

import inspect
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "docs"))

from catalogue.curves import PLOTS
from catalogue.entries import Entry, exported
from catalogue.families import FAMILIES
from catalogue.page import DOCS, page
from catalogue.plot import draw, trace

NAMES = sorted(exported())
REGENERATE = "docs/losses.md is out of date: cd docs && python -m catalogue"


def test_the_page_is_up_to_date() -> None:
    assert (DOCS / "losses.md").read_text() == page(), REGENERATE


def test_every_loss_is_in_one_family() -> None:
    assert sorted(name for family in FAMILIES for name in family.members) == NAMES


def test_every_loss_has_a_figure_and_no_other_has() -> None:
    assert sorted(PLOTS) == NAMES
    assert sorted(path.stem for path in (DOCS / "losses").glob("*.svg")) == NAMES, REGENERATE
    assert all(path.stat().st_size < 30_000 for path in (DOCS / "losses").iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_says_when_to_use_the_loss_its_range_and_its_traps(name: str) -> None:
    entry = Entry.of(name)
    assert [lead for lead in ("For ", "Range", "Traps?: ") if not entry.docstring.begins(lead)] == []
    assert all(entry.docstring.bounds())
    assert list(entry.docstring.arguments) == list(inspect.signature(entry.cls).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_a_curve_keeps_to_the_range_and_is_finite(name: str) -> None:
    for curve in PLOTS[name].curves.values():
        _, values, gradients = trace(curve, PLOTS[name].span, points=7)
        bounds = curve.loss.bounds(None if curve.batch is None else curve.loss.statistics(*curve.batch))
        assert values.isfinite().all()
        assert gradients.isfinite().all()
        assert float(bounds.lower) - 1e-6 <= values.min()
        assert values.max() <= float(bounds.upper) + 1e-6


def test_a_figure_is_the_same_in_every_run(tmp_path: Path) -> None:
    for turn in ("first", "second"):
        draw(PLOTS["Huber"], tmp_path / turn)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
