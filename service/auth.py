"""Which key a request presents. Pure: whether it is live, the store says."""

from collections.abc import Mapping
from typing import Final

from core.errors import Unauthenticated
from core.tenants import Credential, read_key

_SCHEME: Final = "bearer"


def presented(headers: Mapping[str, str]) -> Credential:
    """The tenant key of `Authorization: Bearer …` (RFC 6750). Raises `Unauthenticated`."""
    key = bearer(headers.get("authorization", ""))
    if key is None:
        raise Unauthenticated
    return read_key(key)


def bearer(header: str) -> str | None:
    """What an `Authorization` header presents as bearer, if it does."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None
