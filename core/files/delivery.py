"""How RunComfy gets a file that an input names: by an address, or inside the input. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

DELIVERED_LINK_LIFETIME: Final = timedelta(hours=26)
"""Of an address that RunComfy gets: longer than the longest `timeout` of a request."""


class FileDelivery(StrEnum):
    """`GATEWAY_FILES__DELIVERY`."""

    AUTO = "auto"
    """The first of these that can be used."""
    PRESIGNED = "presigned"
    """An address that the bucket serves."""
    LINK = "link"
    """A signed link under `GATEWAY_PUBLIC_URL`, which the gateway serves."""
    DATA_URI = "data_uri"
    """The content itself, up to a bound."""


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How files are delivered, and the largest file that becomes a `data:` URI, in bytes."""

    delivery: FileDelivery
    max_data_uri_bytes: int
    public_url: str | None = None

    def choose(self, *, can_presign: bool) -> FileDelivery:
        """Return the delivery that holds; `can_presign`: the storage has addresses of its own."""
        if self.delivery is not FileDelivery.AUTO:
            return self.delivery
        if can_presign:
            return FileDelivery.PRESIGNED
        if self.public_url is not None and _is_public(self.public_url):
            return FileDelivery.LINK
        return FileDelivery.DATA_URI


def _is_public(url: str) -> bool:
    """Return whether an address may be reachable for RunComfy, which fetches by https alone."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" and "." in host and not host.endswith(_LOCAL_SUFFIXES)


_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal", ".lan")
