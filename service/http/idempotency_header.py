"""Parses the `Idempotency-Key` header. Pure.

The header of draft-ietf-httpapi-idempotency-key-header: a string of RFC 9651, `"abc"`. The same
text without quotes, as most clients send it, is the same key.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from core.errors import MalformedRequest

IDEMPOTENCY_KEY: Final = "idempotency-key"
IDEMPOTENCY_REPLAYED: Final = "idempotency-replayed"
MAX_KEY_LENGTH: Final = 255
_DIGEST_CHARS: Final = 32
_WHITESPACE: Final = " \t"  # HTTP's optional whitespace around a value (RFC 9110, 5.6.3)

_STRING: Final = r'"((?:[ !#-\[\]-~]|\\["\\])*)"'
_BARE_ITEMS: Final = (
    _STRING,
    r"-?[0-9]{1,15}(?:\.[0-9]{1,3})?",
    r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*",
    r":[A-Za-z0-9+/=]*:",
    r"\?[01]",
    r"@-?[0-9]{1,15}",
    r'%"(?:[ !#$&-~]|%[0-9a-f]{2})*"',
)
_PARAMETERS: Final = rf"(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:{'|'.join(_BARE_ITEMS)}))?)*"
_QUOTED: Final = re.compile(_STRING + _PARAMETERS)
_ESCAPED: Final = re.compile(r"\\(.)")
# Proxies join two headers of one name with a comma: two keys must not pass as one.
_UNQUOTED: Final = re.compile(r"[!-+\--~]+")


def parse_idempotency_key(headers: Sequence[str]) -> str | None:
    """Return the key, 1 to 255 ASCII characters; None: the submit has none.

    Parameters after the string have no meaning here and are ignored (RFC 9651, section 1.2).
    Raises `MalformedRequest`.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise MalformedRequest("The request has more than one Idempotency-Key.")
    text = _parse_value(headers[0].strip(_WHITESPACE))
    if text is None or not text.strip():
        raise MalformedRequest(
            'Idempotency-Key must be a string such as "8e03978e-40d5-43dd-bc93-6894a57f9324".'
        )
    if len(text) > MAX_KEY_LENGTH:
        raise MalformedRequest(f"Idempotency-Key has more than {MAX_KEY_LENGTH} characters.")
    return text


def digest_idempotency_key(text: str) -> str:
    """Return the key's name in the store: half of its SHA-256, in hex. Unique within a tenant."""
    return sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]


def _parse_value(value: str) -> str | None:
    if not value.startswith('"'):
        return value if _UNQUOTED.fullmatch(value) else None
    quoted = _QUOTED.fullmatch(value)
    return None if quoted is None else _ESCAPED.sub(r"\1", quoted[1])
