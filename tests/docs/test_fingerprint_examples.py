"""The fingerprints that docs/idempotency-and-caching.md shows are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from core.deduplication.fingerprint import fingerprint
from service.models import load_cards

PAGE = Path(__file__).parents[2] / "docs/idempotency-and-caching.md"
MODEL = "kling/kling-3.0/standard/image-to-video"
_ROW = re.compile(r"^\| `(\{.*\})` \| `(1:[0-9a-f]{8})…` \|$", re.MULTILINE)


def test_the_page_shows_true_fingerprints() -> None:
    card = next(card for card in load_cards() if card.model_id == MODEL)
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    found = [fingerprint(MODEL, json.loads(text), card.defaults)[:10] for text, _ in rows]
    assert found == [shown for _, shown in rows]
    assert len(rows) == 8
    assert len(set(found)) == 4
