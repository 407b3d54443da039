"""What mkdocs calls while it builds the site."""

import posixpath
import re
import tempfile
from pathlib import Path
from typing import Any

from api import api_pages, package_tree
from formulas import Formulas, block, write_font
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from repository import ROOT, included, relink
from tables import tables

SHIM = "https://unpkg.com/iframe-worker/shim"  # what lets the search run in pages opened from a folder; ours is local
_tree = tempfile.TemporaryDirectory(prefix="lightning-losses-")


@event_priority(100)  # before mkdocstrings reads its configuration
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Formulas, the sources that the API is read from, and the pages that are found rather than named."""
    config.markdown_extensions.append(Formulas())  # type: ignore[arg-type]
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "formula", "format": block}]
    package_tree(ROOT, Path(_tree.name))
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_tree.name]
    config.nav = _expand(config.nav, [*included().values(), *api_pages()])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand elsewhere in the repository, and those of the API."""
    for source, target in included().items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    for target, content in api_pages().items():
        files.append(File.generated(config, target, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make a file of the repository, as GitHub shows it, a page of the site."""
    pages = included() | {f"docs/{file.src_uri}": file.src_uri for file in files if file.generated_by is None}
    sources = {target: source for source, target in pages.items()}
    if page.file.src_uri in sources:
        markdown = relink(markdown, sources[page.file.src_uri], pages)
    for mark, table in tables().items() if "<!-- " in markdown else ():
        markdown = markdown.replace(mark, table)
    return re.sub(r"<details>(?=<summary>)", '<details markdown="1">', markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Load nothing from elsewhere."""
    return output.replace(SHIM, posixpath.relpath("assets/search.js", posixpath.dirname(page.url) or "."))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """Nor in the page for what is not found."""
    return output_content.replace(SHIM, "/assets/search.js")


def on_post_build(config: MkDocsConfig) -> None:
    """Write the font of the formulas beside the style sheet."""
    write_font(Path(config.site_dir) / "assets" / "formulas.ttf")


def _expand(nav: Any, found: list[str]) -> Any:
    """A navigation in which an entry `folder/*` stands for the pages that were found in the folder."""
    if isinstance(nav, dict):
        return {title: _expand(entry, found) for title, entry in nav.items()}
    if not isinstance(nav, list):
        return nav
    entries: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("/*"):
            folder = entry.removesuffix("*")
            entries += [page for page in found if re.fullmatch(rf"{folder}(?!index)[^/]+\.md", page)]
        else:
            entries.append(_expand(entry, found))
    return entries
