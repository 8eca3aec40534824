"""Which key a request presents. Pure: whether it is live, the store says."""

from collections.abc import Mapping
from typing import Final

from core.errors import Unauthenticated
from core.tenants import Credential, read_key

_SCHEME: Final = "bearer"


def presented(headers: Mapping[str, str]) -> Credential:
    """The tenant key of `Authorization: Bearer …` (RFC 6750). Raises `Unauthenticated`."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != _SCHEME:
        raise Unauthenticated
    return read_key(key.strip())
