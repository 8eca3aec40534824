"""Generated pages are up to date: `make docs` writes them."""

import pytest

from docs.generate import PAGES, ROOT, groups


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_is_fresh(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == PAGES[name]()


def test_every_setting_is_described() -> None:
    assert [s.name for _, settings in groups() for s in settings if not s.description] == []
