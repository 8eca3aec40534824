"""Configuration of Sphinx: the documentation as a static site (`make site`).

The Markdown stays what it is on the repository's host. Sources are read from the root of the
repository, so that a link which leaves `docs/` resolves too: to a page of the site, else to a copy
of the file. A folder without a page is named without a link; badges, which other hosts draw, are
left out.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any, Final

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT: Final = Path(__file__).parents[2]
_PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_INDEXES: Final = frozenset({"docs/README", "docs/adr/README", "docs/runbooks/README"})
"""Pages whose tables list the pages below them: the navigation is made from the tables."""
_LISTED_PAGE: Final = re.compile(r"^\| \[[^]]+\]\((?P<page>[^)#:]+\.md)\) \|", re.MULTILINE)
_FOLDER_LINK: Final = re.compile(r"\[(?P<text>[^]]+)\]\((?P<folder>[^)#:]+/|[\w./-]+/\w+)\)")
_BADGE: Final = re.compile(r"^\[!\[[^]]*\]\(https://[^)]*\)\]\([^)]*\)\n", re.MULTILINE)
_DIAGRAM: Final = '<pre class="mermaid">'

# The names from here to `html_copy_source` are Sphinx's.
project = _PROJECT["name"]
version = release = _PROJECT["version"]
root_doc = "docs/README"
extensions = ["myst_parser"]
include_patterns = [
    "*.md",
    "docs/**.md",
    "examples/README.md",
    "clients/*/README.md",
    "deploy/**.md",
    "tests/README.md",
]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
# Contributors' pages and clients' pages are reached by links.
# `misc`: examples have `…` in place of an input.
suppress_warnings = ["toc.not_included", "misc.highlighting_failure"]
templates_path = ["templates"]
html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["static"]
html_extra_path = ["root"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Connect the rules below; Sphinx calls this."""
    app.add_directive("mermaid", Diagram)
    app.connect("source-read", _read_source)
    app.connect("html-page-context", _add_scripts)


class Diagram(SphinxDirective):
    """A Mermaid diagram. The browser draws it; its text is shown where scripts are switched off."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        escaped = "\n".join(self.content).replace("&", "&amp;").replace("<", "&lt;")
        return [nodes.raw("", f"{_DIAGRAM}{escaped}</pre>", format="html")]


def _read_source(_: Sphinx, page: str, source: list[str]) -> None:
    """Add the navigation to an index; replace what the site has not."""
    text = _FOLDER_LINK.sub(lambda link: _page_or_text(page, link), _BADGE.sub("", source[0]))
    source[0] = text + "".join(_navigation(page, text)) if page in _INDEXES else text


def _page_or_text(page: str, link: re.Match[str]) -> str:
    folder = ROOT / dirname(page) / link["folder"]
    return link["text"] if folder.is_dir() else link[0]


def _navigation(page: str, text: str) -> Iterator[str]:
    """Yield a table of contents for each section that lists pages."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        found = [row["page"].removesuffix(".md") for row in _LISTED_PAGE.finditer(section)]
        pages = [f"/{normpath(join(dirname(page), one))}" for one in found]
        if pages:
            caption = section.partition("\n")[0].partition(":")[0]
            options = ":hidden:" + (f"\n:caption: {caption}" if page == root_doc else "")
            yield f"\n\n```{{toctree}}\n{options}\n\n" + "\n".join(pages) + "\n```\n"


def _add_scripts(app: Sphinx, _: str, __: str, context: dict[str, Any], ___: object) -> None:
    """Add Mermaid to pages that have diagrams: it is large."""
    if _DIAGRAM in context.get("body", ""):
        for script in ("mermaid.tiny.js", "diagrams.js"):
            app.add_js_file(script, loading_method="defer")
