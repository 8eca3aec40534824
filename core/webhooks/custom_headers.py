"""Rules for the headers that a tenant adds to its webhook requests."""

import re
from collections.abc import Sequence
from typing import Final

MAX_HEADERS: Final = 16
MAX_HEADER_CHARS: Final = 1024

# Headers that the gateway sets, and those that change the framing of the request (RFC 9110, 7.6.1).
FORBIDDEN_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)

FORBIDDEN_HEADER_PREFIXES: Final = ("webhook-", "x-forwarded-", "proxy-", "sec-")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def header_error(name: str, value: str) -> str | None:
    """Return why a header may not be sent; None if it may."""
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name):
        return "is not a valid header name"
    if lower in FORBIDDEN_HEADERS or lower.startswith(FORBIDDEN_HEADER_PREFIXES):
        return "is reserved"
    if len(value) > MAX_HEADER_CHARS or not _HEADER_VALUE.fullmatch(value):
        return f"must be 1 to {MAX_HEADER_CHARS} printable ASCII characters"
    return None


def header_list_error(headers: Sequence[tuple[str, str]]) -> str | None:
    """Return why these headers may not be sent together; None if they may."""
    if len(headers) > MAX_HEADERS:
        return f"are more than {MAX_HEADERS}"
    if len({name.lower() for name, _ in headers}) != len(headers):
        return "contain a name twice"
    return None
