"""Every word that a `Trouble` is told with has its place among the labels."""

from __future__ import annotations

import re
from pathlib import Path

from core.labels import TROUBLES, UPSTREAM_CALLS

ROOT = Path(__file__).parents[3]
_LITERAL = re.compile(r'Trouble\(\s*(?:code=)?"([a-z_]+)"')
_CALL = re.compile(r'(?:Call\(|self\._(?:get|post)\()"([a-z_]+)"')
_NAMED = re.compile(r'(?:Chore\(\s*"|name=")([a-z]+)"')


def sources() -> str:
    files = [path for part in ("core", "service", "worker") for path in (ROOT / part).rglob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_every_trouble_has_its_label() -> None:
    text = sources()
    # Loops and chores tell of their failures under their own names.
    told = set(_LITERAL.findall(text)) | {f"{name}_failed" for name in _NAMED.findall(text)}
    assert told - set(TROUBLES) == set()
    assert "step_failed" in told


def test_every_call_to_runcomfy_has_its_label() -> None:
    assert sorted(set(_CALL.findall(sources()))) == sorted(UPSTREAM_CALLS)
