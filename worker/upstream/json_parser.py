"""RunComfy's JSON, field by field: bytes and loose values in, exact values out. Pure.

Knows every quirk of the documents; knows nothing of HTTP or of what is done with the values.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from enum import Enum
from itertools import islice
from typing import Final
from urllib.parse import quote

import orjson

from core.money import MicroUsd, from_usd
from worker.ports import Times

Document = Mapping[str, object]


class Phase(Enum):
    """What a status word means."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# Documented: in_queue, in_progress, completed, cancelled. The rest is what RunComfy's own clients
# handle, and what other queues of the kind say.
PHASES: Final[Mapping[str, Phase]] = {
    "in_queue": Phase.QUEUED,
    "pending": Phase.QUEUED,
    "waiting": Phase.QUEUED,
    "queued": Phase.QUEUED,
    "in_progress": Phase.RUNNING,
    "starting": Phase.RUNNING,
    "processing": Phase.RUNNING,
    "running": Phase.RUNNING,
    "completed": Phase.COMPLETED,
    "succeeded": Phase.COMPLETED,
    "failed": Phase.FAILED,
    "error": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    "canceled": Phase.CANCELLED,
}
ENDED: Final = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED})

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MODEL_ID_LENGTH: Final = 512
_TEXT_KEYS: Final = ("error_message", "message", "error", "detail", "msg")
_TEXT_DEPTH: Final = 3
_LISTED_ERRORS: Final = 5
_ERROR_CODE: Final = re.compile(r"[45][0-9]{5}")
_NO_ERROR: Final = frozenset({"", "0", "none", "null"})
_MOST_USD: Final = 1_000_000
# Epoch figures above this are milliseconds: as seconds they would lie beyond the year 5000.
_MILLISECONDS_FROM: Final = 100_000_000_000
_EPOCH_DIGITS: Final = re.compile(r"[0-9]{9,13}(\.[0-9]+)?")


def document(body: bytes) -> Document | None:
    """The JSON object in `body`, or None for anything else."""
    found = anything(body)
    return found if isinstance(found, dict) else None


def anything(body: bytes) -> object:
    """The JSON value in `body`, or None where there is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def looks_like_html(body: bytes, content_type: str) -> bool:
    """A page for people, whatever it is labelled: a CDN stands in front of RunComfy."""
    opening = body[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    labelled = content_type.lower().startswith(("text/html", "application/xhtml"))
    return opening.startswith((b"<!doctype", b"<html", b"<head", b"<body")) or (
        labelled and not opening.startswith((b"{", b"["))
    )


def request_id(value: object) -> str | None:
    """A request id: letters, digits, `_`, `-`, at most 128 of them (RunComfy's own clients)."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None


def model_path(model_id: str) -> str | None:
    """The model's URL path, quoted; None for an id that would lead to another path."""
    steps = model_id.split("/")
    if len(model_id) > _MODEL_ID_LENGTH or not {"", ".", ".."}.isdisjoint(steps):
        return None
    return f"/v1/models/{quote(model_id, errors='replace')}"


def request_path(upstream_id: str, call: str) -> str | None:
    """The URL path of a call on a request; None for what is no request id."""
    return f"/v1/requests/{upstream_id}/{call}" if request_id(upstream_id) else None


def status_word(doc: Document) -> str | None:
    """The status as a word; None where there is none."""
    return word(doc.get("status"))


def word(value: object) -> str | None:
    """A text in lower case, its parts joined by `_`; None for an empty one and for no text."""
    if not isinstance(value, str) or not value.strip():
        return None
    return "_".join(value.lower().replace("-", " ").split())


def phase(doc: Document) -> Phase | None:
    """What the status word means; None for an absent word and for one that nobody documented."""
    return PHASES.get(status_word(doc) or "")


def queue_position(doc: Document) -> int | None:
    """The place in RunComfy's queue, where it gives one."""
    value = doc.get("queue_position")
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:9])
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return value


def error_code(doc: Document) -> str | None:
    """RunComfy's own error code, int or string; None where the document reports no error.

    `error_code` may hold anything; `code` counts only where it has the form of a code (six digits,
    4 or 5 first), since other services put 0 or 200 there.
    """
    for holder in (doc, doc.get("error")):
        if isinstance(holder, dict):
            found = _code_in(holder)
            if found is not None:
                return found
    return None


def _code_in(holder: Document) -> str | None:
    named = _code_text(holder.get("error_code"))
    if named is not None and named.lower() not in _NO_ERROR:
        return named
    loose = _code_text(holder.get("code"))
    return loose if loose is not None and _ERROR_CODE.fullmatch(loose) else None


def _code_text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip()


def error_text(value: object, depth: int = _TEXT_DEPTH) -> str | None:
    """The words of an error under any of the keys that RunComfy uses, or None.

    Takes the document, a text, or a list of validation errors (`loc` and `msg`, as pydantic has
    them). Unbounded: whoever shows it cuts it.
    """
    if isinstance(value, str):
        return value.strip() or None
    if depth == 0:
        return None
    if isinstance(value, list):
        texts = (error_text(item, depth - 1) for item in islice(value, _LISTED_ERRORS))
        return "; ".join(text for text in texts if text) or None
    if isinstance(value, dict):
        return _text_in(value, depth)
    return None


def _text_in(holder: Document, depth: int) -> str | None:
    for key in _TEXT_KEYS:
        text = error_text(holder.get(key), depth - 1)
        if text:
            return _located(holder.get("loc"), text)
    return None


def _located(loc: object, text: str) -> str:
    if not isinstance(loc, list):
        return text
    return f"{'.'.join(str(step) for step in islice(loc, 10))}: {text}"


def output(doc: Document) -> Mapping[str, object] | None:
    """The output: an object as it is, anything else as `{"output": …}`; None where it is empty.

    Documented is an object. A bare URL or list was paid for all the same, so it is kept.
    """
    value = doc.get("output")
    if value is None or value in ("", [], {}):
        return None
    return value if isinstance(value, dict) else {"output": value}


def cost(doc: Document) -> MicroUsd | None:
    """What the request cost, as number or string; None while RunComfy does not say."""
    value = doc.get("cost")
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        # A figure nobody is billed would not fit where money is added up.
        return from_usd(value) if Decimal(str(value)) <= _MOST_USD else None
    except DecimalException:
        return None


def times(doc: Document) -> Times:
    """RunComfy's own instants."""
    return Times(instant(doc.get("created_at")), instant(doc.get("finished_at")))


def instant(value: object) -> datetime | None:
    """An aware instant from ISO 8601 (UTC where it names no zone) or epoch seconds or milliseconds.

    None for anything else.
    """
    if isinstance(value, str) and _EPOCH_DIGITS.fullmatch(value.strip()):
        value = float(value)
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value.strip())
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            seconds = value / 1000 if value >= _MILLISECONDS_FROM else value
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
