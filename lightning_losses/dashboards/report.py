"""A page about one or more runs that needs no account, no server and no network."""

import base64
import errno
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined  # torch requires it
from markupsafe import Markup

from lightning_losses.dashboards.findings.checks import read_out
from lightning_losses.dashboards.history import History, read
from lightning_losses.dashboards.page import content, tables
from lightning_losses.replacing import replacing
from lightning_losses.version import __version__

NAME = "report.html"
SCRIPTS = ("uPlot.iife.min.js", "series.js", "chart.js", "page.js")
STYLES = ("uPlot.min.css", "style.css")
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def write(run_dirs: Sequence[Path | str], out: Path | str | None = None) -> Path:
    """Write the report of one or more runs.

    Args:
        run_dirs: the folders of the runs.
        out: the file to write; None for `report.html` in the folder of the first run.

    Returns:
        The file, which holds all that it shows: it can be moved, mailed and opened without a network.

    Raises:
        ValueError: no run is given.
        FileNotFoundError: a run's folder does not exist or holds no log; the message says what was looked for.
        OSError: the file cannot be written; found out before the runs are read.
    """
    if not run_dirs:
        raise ValueError("`run_dirs` must name at least one run, found [].")
    file = Path(run_dirs[0]) / NAME if out is None else Path(out)
    for folder in map(Path, run_dirs):
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no run in {folder}: it is not a folder.")
    with replacing(file) as part:
        _claim(file, part)
        part.write_text(html([read(folder) for folder in run_dirs]), encoding="utf-8")
    return file


def _claim(file: Path, part: Path) -> None:
    """Find out before the long work that the file cannot be written."""
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        part.touch()
    except OSError as error:
        raise OSError(f"The report {file} cannot be written: {error.strerror}.") from error


def html(histories: Sequence[History]) -> str:
    """The page."""
    names = _names(histories)
    shown = content.contents(histories, names)
    differing, same = tables.configurations([history.config for history in histories])
    script = "\n".join(map(_asset, SCRIPTS))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_visible
    )
    return environment.from_string(_asset("template.html")).render(
        title=_title(histories, names),
        names=names,
        histories=histories,
        readings=[read_out(history) for history in histories],
        outcomes=[tables.outcome(history) for history in histories],
        facts=[tables.facts(history) for history in histories],
        content=shown,
        differing=differing,
        same=same,
        data=json.dumps(shown.data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style="\n".join(map(_asset, STYLES)),
        version=__version__,
    )


def _visible(value: object) -> object:
    """Text without what turns its direction around, what has no shape, and halves of characters."""
    return INVISIBLE.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _names(histories: Sequence[History]) -> list[str]:
    """What the runs are called, each differently."""
    counts = Counter(history.name for history in histories)
    return [
        f"{history.name} ({number})" if counts[history.name] > 1 else history.name
        for number, history in enumerate(histories, start=1)
    ]


def _title(histories: Sequence[History], names: Sequence[str]) -> str:
    if len(histories) > 1:
        return f"{len(histories)} runs side by side"
    title = (histories[0].config.get("recipe") or {}).get("title")
    return str(title or names[0])


def _asset(name: str) -> str:
    return files("lightning_losses.dashboards.page").joinpath(name).read_text(encoding="utf-8")
