"""The documentation as a site: it builds without a warning, and loads nothing from elsewhere."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.deployment import ROOT

SITE: Final = ROOT / "build/site"
_NOT_INSTALLED: Final = 3
_LOADED: Final = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="([^"]+)\"""")
_LINKED: Final = re.compile(r"""<a\b[^>]*?href="([^"]+)\"""")
_INLINE_SCRIPT: Final = re.compile(r"<script(?![^>]* src=)")
_DIAGRAM: Final = '<pre class="mermaid">'
_EMPTY_DIAGRAM: Final = f"{_DIAGRAM}</pre>"


# One test: processes that run tests side by side must not build the same folder.
@pytest.mark.timeout(900)
def test_the_site_is_whole_and_loads_nothing_from_elsewhere() -> None:
    pages = build()
    assert missing_pages(pages) == set()
    assert list(loaded_from_elsewhere(pages)) == []
    assert list(broken_links(pages)) == []
    assert [page for page, text in pages.items() if _INLINE_SCRIPT.search(text)] == []
    drawn = [text for text in pages.values() if _DIAGRAM in text]
    assert len(drawn) > 2
    assert [text for text in drawn if _EMPTY_DIAGRAM in text or "mermaid.tiny.js" not in text] == []


def build() -> Mapping[Path, str]:
    """Return the pages of the site; skip where its generator cannot be installed."""
    built = subprocess.run(
        [ROOT / "docs/site/build.sh"], capture_output=True, text=True, check=False
    )
    if built.returncode == _NOT_INSTALLED:
        pytest.skip(built.stderr.strip().splitlines()[-1])
    assert (built.returncode, built.stderr) == (0, "")
    return {page: page.read_text(encoding="utf-8") for page in SITE.rglob("*.html")}


def missing_pages(pages: Mapping[Path, str]) -> set[Path]:
    """The Markdown that is no page of the site."""
    written = {page.relative_to(ROOT) for page in (ROOT / "docs").rglob("*.md")}
    built = {page.relative_to(SITE).with_suffix(".md") for page in pages}
    return written - built


def loaded_from_elsewhere(pages: Mapping[Path, str]) -> Iterator[str]:
    """What a browser would load from another host."""
    for text in pages.values():
        yield from (link for link in _LOADED.findall(text) if urlsplit(link).netloc)


def broken_links(pages: Mapping[Path, str]) -> Iterator[tuple[Path, str]]:
    """The links within the site that lead to no file."""
    for page, text in pages.items():
        for link in (*_LOADED.findall(text), *_LINKED.findall(text)):
            parts = urlsplit(link)
            within = not parts.scheme and not parts.netloc and parts.path
            if within and not (page.parent / unquote(parts.path)).exists():
                yield page, link
