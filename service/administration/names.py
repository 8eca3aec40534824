"""Which texts can be names that RunComfy gave. Pure."""

import re
from typing import Final

UPSTREAM_ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,128}"
_UPSTREAM_ID: Final = re.compile(UPSTREAM_ID_PATTERN)


def is_upstream_id(text: str) -> bool:
    """Whether RunComfy could have given this id to a request (its own clients' rule)."""
    return _UPSTREAM_ID.fullmatch(text) is not None
