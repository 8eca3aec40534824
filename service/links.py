"""The base of the URLs that a caller is given. Pure."""

import re
from typing import Final

from starlette.types import Scope

from core.documents import Links

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def links_of(scope: Scope, public_url: str | None) -> Links:
    """Links from `public_url`, or else from the address that was called."""
    return Links(public_url or f"{scope['scheme']}://{_host(scope)}{scope.get('root_path', '')}")


def _host(scope: Scope) -> str:
    named = next((value for name, value in scope["headers"] if name == b"host"), b"")
    text: str = named.decode("latin-1")
    if _HOST.fullmatch(text):
        return text
    address, port = scope.get("server") or ("localhost", None)
    return f"{address}:{port}" if port else str(address)
