"""Label values written as text in the code belong to the label's closed set."""

import re
from pathlib import Path

from core.observability.events import WARNING_CODES
from core.observability.metrics import UPSTREAM_CALLS

ROOT = Path(__file__).parents[4]
_LITERAL = re.compile(r'OperationalWarning\(\s*(?:code=)?"([a-z_]+)"')
_CALL = re.compile(r'(?:ApiCall\(|self\._build_(?:get|post|call)\()"([a-z_]+)"')
_KEYWORD = re.compile(r'(?:PeriodicTask\(\s*"|name=")([a-z_]+)"')


def sources(*parts: str) -> str:
    files = [path for part in parts for path in (ROOT / part).rglob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_every_warning_code_has_its_label() -> None:
    emitted = set(_LITERAL.findall(sources("core", "service", "worker")))
    # The worker's loops and periodic tasks report failures under their own names.
    emitted |= {f"{name}_failed" for name in _KEYWORD.findall(sources("worker"))}
    assert emitted - WARNING_CODES == set()
    assert "job_step_failed" in emitted


def test_every_call_to_runcomfy_has_its_label() -> None:
    assert sorted(set(_CALL.findall(sources("worker")))) == sorted(UPSTREAM_CALLS)
