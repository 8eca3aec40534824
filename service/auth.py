"""Which key a request presents. Pure: whether it is live, the store says."""

from typing import Final

from starlette.datastructures import Headers

from core.errors import Unauthenticated
from core.tenants import Credential, read_key

_SCHEME: Final = "bearer"


def presented(headers: Headers) -> Credential:
    """The tenant key of `Authorization: Bearer …` (RFC 6750). Raises `Unauthenticated`."""
    key = bearer(headers)
    if key is None:
        raise Unauthenticated
    return read_key(key)


def bearer(headers: Headers) -> str | None:
    """What the `Authorization` field presents as bearer, if it does.

    Two such fields present nothing: who stands between might have judged the other one.
    """
    fields = headers.getlist("authorization")
    if len(fields) != 1:
        return None
    scheme, _, token = fields[0].partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else None
