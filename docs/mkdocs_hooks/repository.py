"""Which files of the repository are pages of the site, and links between them."""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def included(root: Path = ROOT) -> dict[str, str]:
    """Files outside of docs that the site shows: their paths from the root, and where they stand in the site."""
    results = [path for kind in ("md", "png") for path in (root / "benchmarks" / "results").glob(f"*.{kind}")]
    return {
        "CHANGELOG.md": "changelog.md",
        "benchmarks/README.md": "measured/index.md",
        **{f"benchmarks/results/{path.name}": f"measured/{path.name}" for path in sorted(results)},
        **{f"recipes/{name}/README.md": f"recipes/{name}.md" for name in recipes(root)},
    }


def recipes(root: Path = ROOT) -> list[str]:
    """The recipes that have a page, by name."""
    return sorted(path.parent.name for path in (root / "recipes").glob("*/README.md"))


def relink(markdown: str, source: str, pages: Mapping[str, str], root: Path = ROOT) -> str:
    """Links between files of the repository as links between pages; to a file that is no page, its name alone.

    Args:
        markdown: the text of a file.
        source: its path from the root.
        pages: where the files that the site shows stand in it, by their paths from the root.
        root: of the repository.

    >>> pages = {"benchmarks/README.md": "measured/index.md", "CHANGELOG.md": "changelog.md"}
    >>> relink("[all](../CHANGELOG.md#top), [code](import_time.py)", "benchmarks/README.md", pages)
    '[all](../changelog.md#top), code'
    """
    here = posixpath.dirname(pages[source])

    def link(found: re.Match[str]) -> str:
        mark, text, path, anchor = found[1], found[2], found[3], found[4] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if target in pages:
            return f"{mark}[{text}]({posixpath.relpath(pages[target], here or '.')}{anchor})"
        return text if (root / target).exists() else found[0]

    return LINK.sub(link, markdown)
