"""Parses RunComfy's JSON field by field, with all the variants that its API returns. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from itertools import islice
from typing import Final

from core.jobs.runcomfy_status import PHASES_BY_STATUS, Phase
from core.money import MicroUsd, from_usd
from worker.ports import UpstreamTimes
from worker.upstream import tolerant_json

Document = Mapping[str, object]


_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TEXT_KEYS: Final = ("error_message", "message", "error", "detail", "msg")
_MAX_TEXT_DEPTH: Final = 3
_MAX_LISTED_ERRORS: Final = 5
_ERROR_CODE: Final = re.compile(r"[45][0-9]{5}")
_NO_ERROR: Final = frozenset({"", "0", "none", "null"})
_MAX_USD: Final = 1_000_000
# Larger epoch figures are milliseconds: as seconds they would be after the year 5000.
_MIN_EPOCH_MILLISECONDS: Final = 100_000_000_000
_EPOCH_DIGITS: Final = re.compile(r"[0-9]{9,13}(\.[0-9]+)?")


def is_html(body: bytes, content_type: str) -> bool:
    """Return whether `body` is an HTML page, as the CDN before RunComfy sends.

    The content type alone is not reliable.
    """
    opening = body[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    labelled = content_type.lower().startswith(("text/html", "application/xhtml"))
    return opening.startswith((b"<!doctype", b"<html", b"<head", b"<body")) or (
        labelled and not opening.startswith((b"{", b"["))
    )


def parse_request_id(value: object) -> str | None:
    """Return a valid request id, else None: 1 to 128 letters, digits, `_` and `-`.

    The rule is that of RunComfy's own clients.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None


def build_request_path(upstream_id: str, call: str) -> str | None:
    """Return the URL path of a call on a request; None for an invalid request id."""
    return f"/v1/requests/{upstream_id}/{call}" if parse_request_id(upstream_id) else None


def parse_status_word(doc: Document) -> str | None:
    """Return the normalised status word; None if there is none."""
    return normalize_word(doc.get("status"))


def normalize_word(value: object) -> str | None:
    """Return a string in lower case, its words joined by `_`; None if empty or no string."""
    if not isinstance(value, str) or not value.strip():
        return None
    return "_".join(value.lower().replace("-", " ").split())


def parse_phase(doc: Document) -> Phase | None:
    """Return the meaning of the status word; None if it is absent or unknown."""
    return PHASES_BY_STATUS.get(parse_status_word(doc) or "")


def parse_queue_position(doc: Document) -> int | None:
    """Return the position in RunComfy's queue, if it states one."""
    value = doc.get("queue_position")
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:9])
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return value


def parse_error_code(doc: Document) -> str | None:
    """Return RunComfy's own error code, an int or string; None if the document reports no error.

    `error_code` may be any text; `code` counts only if it has six digits and begins with 4 or 5,
    since other services put 0 or 200 there.
    """
    for holder in (doc, doc.get("error")):
        if isinstance(holder, dict):
            found = _find_error_code(holder)
            if found is not None:
                return found
    return None


def _find_error_code(holder: Document) -> str | None:
    named = _code_to_text(holder.get("error_code"))
    if named is not None and named.lower() not in _NO_ERROR:
        return named
    loose = _code_to_text(holder.get("code"))
    return loose if loose is not None and _ERROR_CODE.fullmatch(loose) else None


def _code_to_text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip()


def parse_error_text(value: object, depth: int = _MAX_TEXT_DEPTH) -> str | None:
    """Return the text of an error under any of the keys that RunComfy uses, or None.

    `value` is the document, a string, or a list of validation errors (`loc` and `msg`, as in
    pydantic). The text is not bounded: callers must truncate it.
    """
    if isinstance(value, str):
        return value.strip() or None
    if depth == 0:
        return None
    if isinstance(value, list):
        texts = (parse_error_text(item, depth - 1) for item in islice(value, _MAX_LISTED_ERRORS))
        return "; ".join(text for text in texts if text) or None
    if isinstance(value, dict):
        return _find_error_text(value, depth)
    return None


def _find_error_text(holder: Document, depth: int) -> str | None:
    for key in _TEXT_KEYS:
        text = parse_error_text(holder.get(key), depth - 1)
        if text:
            return _with_location(holder.get("loc"), text)
    return None


def _with_location(loc: object, text: str) -> str:
    if not isinstance(loc, list):
        return text
    return f"{'.'.join(str(step) for step in islice(loc, 10))}: {text}"


def parse_output(body: bytes) -> bytes | None:
    """Return the output as JSON text: an object as it came, anything else as `{"output": …}`.

    None if it is empty. RunComfy documents an object, but a bare URL or list was paid for too.
    """
    text = tolerant_json.member_text(body, "output")
    value = None if text is None else tolerant_json.parse_json(text)
    if text is None or value is None or value in ("", [], {}):
        return None
    return text if isinstance(value, dict) else b'{"output":%s}' % text


def parse_cost(doc: Document) -> MicroUsd | None:
    """Return the request's cost, a number or string; None while RunComfy does not state it."""
    value = doc.get("cost")
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        # A larger figure is an error, and Redis could not add it exactly.
        return from_usd(value) if Decimal(str(value)) <= _MAX_USD else None
    except DecimalException:
        return None


def parse_times(doc: Document) -> UpstreamTimes:
    """Return RunComfy's own times."""
    return UpstreamTimes(
        parse_instant(doc.get("created_at")), parse_instant(doc.get("finished_at"))
    )


def parse_instant(value: object) -> datetime | None:
    """Return an aware time from ISO 8601 (UTC if it has no zone), or epoch seconds or milliseconds.

    None for anything else.
    """
    if isinstance(value, str) and _EPOCH_DIGITS.fullmatch(value.strip()):
        value = float(value)
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value.strip())
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            seconds = value / 1000 if value >= _MIN_EPOCH_MILLISECONDS else value
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
