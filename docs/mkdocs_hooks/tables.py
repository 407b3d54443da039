"""Tables that the library itself states: its recipes, its dashboard, what a report looks for."""

from repository import recipes

from lightning_losses.cli.catalogue import Recipe, installed
from lightning_losses.config import load
from lightning_losses.dashboards.findings.checks import CHECKS
from lightning_losses.dashboards.panels import SECTIONS


def tables() -> dict[str, str]:
    """The tables by the comments in whose places they are put."""
    return {"<!-- recipes -->": _recipes(), "<!-- panels -->": _panels(), "<!-- findings -->": _findings()}


def _recipes() -> str:
    head = "| recipe | what it trains | metric | reference | minutes |\n|---|---|---|---:|---:|\n"
    return head + "\n".join(_row(recipe) for recipe in installed())


def _row(recipe: Recipe) -> str:
    """A configuration that `lightning-losses list` shows, with a link to its recipe's page."""
    values = load(recipe.file)
    reference = values.get("reference") or {}
    facts = [reference.get(key) for key in ("metric", "value", "minutes")]
    folder = recipe.name.partition("/")[0]
    name = f"[`{recipe.name}`]({folder}.md)" if folder in recipes() else f"`{recipe.name}`"
    cells = [name, values["recipe"]["title"], *("" if fact is None else fact for fact in facts)]
    return f"| {' | '.join(map(str, cells))} |"


def _panels() -> str:
    rows = [
        f"| {'' if number else section.title} | {panel.title} | {panel.about} |"
        for section in SECTIONS
        for number, panel in enumerate(section.panels)
    ]
    return "\n".join(["| section | panel | how to read it |", "|---|---|---|", *rows])


def _findings() -> str:
    return "\n".join(f"- {what}" for what in CHECKS)
