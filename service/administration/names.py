"""Which texts can be names of others: RunComfy's request ids and model ids. Pure."""

import re
from typing import Final

UPSTREAM_ID_PATTERN: Final = r"[A-Za-z0-9_-]{1,128}"
MODEL_ID_PATTERN: Final = r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*"
LONGEST: Final = 512
_UPSTREAM_ID: Final = re.compile(UPSTREAM_ID_PATTERN)
_MODEL_ID: Final = re.compile(MODEL_ID_PATTERN)


def is_upstream_id(text: str) -> bool:
    """Whether RunComfy could have given this id to a request (its own clients' rule)."""
    return _UPSTREAM_ID.fullmatch(text) is not None


def is_model_id(text: str) -> bool:
    """Whether a model could have this id: names separated by slashes."""
    return len(text) <= LONGEST and _MODEL_ID.fullmatch(text) is not None
