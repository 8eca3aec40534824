"""The table of docs/outputs.md has every difference that `gateway archive check` finds."""

import re
from typing import Final

from core.objects.archive_audit import MEANINGS, Difference
from tests.support.deployment import ROOT

_ROW: Final = re.compile(r"^\| `(?P<word>\w+)` \| (?P<text>[^|]+) \|$", re.MULTILINE)


def test_the_table_is_that_of_the_code() -> None:
    assert list(MEANINGS) == list(Difference)
    text = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    rows = {row["word"]: row["text"] for row in _ROW.finditer(text)}
    assert {each.value: meaning for each, meaning in MEANINGS.items()}.items() <= rows.items()
