"""The documentation builds without a warning, leads nowhere that does not exist, and what it shows works."""

import doctest
import inspect
import json
import posixpath
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from lightning.pytorch import Callback

import lightning_losses.balancers
import lightning_losses.callbacks
from lightning_losses.balancers import Balancer
from lightning_losses.cli import arguments, catalogue

pytest.importorskip("mkdocs")
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
FRAGMENTS = ("losses.md", "clusters.md")  # signatures, and excerpts of scripts for what is not installed here
sys.path.append(str(DOCS / "mkdocs_hooks"))


def concrete(module, base: type) -> list[str]:
    members = {name: getattr(module, name) for name in module.__all__}
    return [n for n, m in members.items() if inspect.isclass(m) and issubclass(m, base) and not inspect.isabstract(m)]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; any warning is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder))
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder


@pytest.fixture(scope="module")
def html(site: Path) -> dict[str, str]:
    """The text of every page by its path."""
    return {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*.html")}


def test_every_link_and_anchor_leads_somewhere(site: Path, html: dict[str, str]) -> None:
    anchors = {page: {unquote(name) for name in re.findall(r'\sid="([^"]+)"', text)} for page, text in html.items()}
    lost = []
    for page, text in html.items():
        for link in set(re.findall(r'\s(?:href|src)="([^"]+)"', text)):
            if re.match(r"[a-z]+:", link) or page == "404.html":
                continue
            path, anchor = urldefrag(link)
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            if (site / target).is_dir():
                target = posixpath.join(target, "index.html").removeprefix("./")
            if not (site / target).exists() or (anchor and unquote(anchor) not in anchors[target] | {"__codelineno"}):
                lost.append(f"{page}: {link}")
    assert not lost


def test_nothing_is_loaded_from_elsewhere(site: Path, html: dict[str, str]) -> None:
    loads = (
        r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|<link[^>]*rel="stylesheet"[^>]*href="(?:https?:)?//'
    )
    assert [page for page, text in html.items() if re.search(loads, text)] == []
    styles = [path for path in site.rglob("*.css") if re.search(r"url\([\"']?(?:https?:)?//", path.read_text())]
    assert styles == []
    font = (site / "assets" / "formulas.ttf").stat().st_size
    assert 100_000 < font < 800_000


def test_no_markup_is_left_unread(html: dict[str, str]) -> None:
    for page, text in html.items():
        shown = re.sub(r"<(pre|code|script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
        for markup in (
            ":math:",
            ".. math::",
            "$`",
            "``",
            "&gt;&gt;&gt; ",
            "::: lightning",
            "<!-- recipes",
            "<!-- panels",
            "<!-- findings",
        ):
            assert markup not in shown, f"{page} shows {markup}"
        assert not re.search(r"<math[^>]*>[^/]*\\[a-z]+", text), f"{page} has a command that is not known in a formula"


@pytest.mark.parametrize("module", [lightning_losses.balancers, lightning_losses.callbacks], ids=lambda m: m.__name__)
def test_every_callback_and_balancer_has_a_page(module, html: dict[str, str]) -> None:
    folder = module.__name__.rpartition(".")[2]
    for name in concrete(module, Balancer | Callback):
        page = f"{folder}/{re.sub(r'(?<=[a-z])(?=[A-Z])', '-', name).lower()}".replace("grad-norm", "gradnorm")
        text = (DOCS / f"{page}.md").read_text()
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE)[-3:] == ["Cost", "Limits", "Reference"]
        assert f'id="{module.__name__}.{name}"' in html[f"{page}.html"]


def test_every_recipe_with_a_readme_has_a_page(html: dict[str, str]) -> None:
    for readme in (ROOT / "recipes").glob("*/README.md"):
        heading = readme.read_text().partition("\n")[0].removeprefix("# ")
        assert re.search(rf"<h1[^>]*>{re.escape(heading)}", html[f"recipes/{readme.parent.name}.html"])


@pytest.mark.parametrize("page", [page for page in PAGES if page not in FRAGMENTS and blocks(page, "python")])
def test_the_code_of_a_page_runs_from_top_to_bottom(page: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)


def test_the_commands_of_the_pages_are_understood() -> None:
    sources = [DOCS / page for page in PAGES] + [*(ROOT / "recipes").glob("*/README.md")]
    texts = [path.read_text().replace("\\\n", " ") for path in sources]
    commands = {line for text in texts for line in re.findall(r"^lightning-losses [^`\n]*$", text, re.MULTILINE)}
    commands |= {code for text in texts for code in re.findall(r"`(lightning-losses [^\s`]+ [^`\n]+)`", text)}
    known = [
        shlex.split(command, comments=True)[1:] for command in sorted(commands) if not re.search(r"[|<.]{2}", command)
    ]
    assert len(known) > 10
    for words in known:
        given = arguments.parse(words)
        if given.verb in ("fit", "test", "show", "copy", "validate-config"):
            assert catalogue.find(given.recipe).name == given.recipe


def test_the_costs_of_the_balancers_are_those_that_were_measured() -> None:
    """Of a step over the plain sum's, as the table of the benchmark has them."""
    table = (ROOT / "benchmarks" / "results" / "balancer_overhead.md").read_text()
    measured = {tuple(re.findall(r"(\d\.\d\d) \[", row)) for row in table.splitlines() if row.startswith("| ours")}
    text = (DOCS / "balancers" / "index.md").read_text() + (DOCS / "concepts" / "gradnorm.md").read_text()
    shown = set(re.findall(r"(\d\.\d\d)(?: /|,) (\d\.\d\d)(?: /|,) (\d\.\d\d) \|", text))
    assert len(shown) >= 7
    assert shown <= measured


def test_every_picture_is_shown(site: Path, html: dict[str, str]) -> None:
    shown = {posixpath.basename(link) for text in html.values() for link in re.findall(r'<img[^>]*src="([^"]+)"', text)}
    assert {path.name for path in (DOCS / "pictures").iterdir()} <= shown
    assert all(path.stat().st_size < 200_000 for path in (DOCS / "pictures").iterdir())


def test_the_search_knows_every_page(site: Path, html: dict[str, str]) -> None:
    found = {
        entry["location"].partition("#")[0]
        for entry in json.loads((site / "search/search_index.json").read_text())["docs"]
    }
    assert html.keys() - {"404.html"} <= found


@pytest.mark.parametrize("module", ["formulas", "docstrings", "repository"])
def test_the_hooks_keep_their_word(module: str) -> None:
    result = doctest.testmod(__import__(module))
    assert result.attempted > 0
    assert result.failed == 0
