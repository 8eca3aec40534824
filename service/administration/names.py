"""Which texts can be names of others: RunComfy's request ids and model ids. Pure."""

import re
from typing import Final

_UPSTREAM_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_MODEL_ID: Final = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_LONGEST: Final = 512


def is_upstream_id(text: str) -> bool:
    """Whether RunComfy could have given this id to a request (its own clients' rule)."""
    return _UPSTREAM_ID.fullmatch(text) is not None


def is_model_id(text: str) -> bool:
    """Whether a model could have this id: names separated by slashes."""
    return len(text) <= _LONGEST and _MODEL_ID.fullmatch(text) is not None
