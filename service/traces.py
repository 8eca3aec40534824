"""W3C Trace Context: which `traceparent` may be passed on. Pure."""

import re
from typing import Final

# https://www.w3.org/TR/trace-context/#traceparent-header; ids of zeros and version ff are invalid.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def read_traceparent(header: str | None) -> str | None:
    """The header when it is well-formed, else None: a bad one is no error, and not passed on."""
    return header if header and _TRACEPARENT.fullmatch(header) else None
