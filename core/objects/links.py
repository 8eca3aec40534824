"""Signed links: an address that serves one object without a key, until it expires.

The secret belongs to the object's record. So a link of another object does not fit, and deleting
the record, or giving it another secret, revokes its links.
"""

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

EXPIRES: Final = "expires"
SIGNATURE: Final = "signature"
LINK_LIFETIME: Final = timedelta(hours=24)
"""Of a link in an answer; a reader gets a new one with each answer."""


@dataclass(frozen=True, slots=True)
class LinkSignature:
    """The query of a signed link: when it expires (seconds since 1970, UTC), and its signature."""

    expires: int
    signature: str

    def is_valid(self, secret: bytes, path: str, now: datetime) -> bool:
        """Return whether it was made for `path` with `secret` and has not expired."""
        wanted = _sign(secret, path, self.expires)
        is_signed = hmac.compare_digest(wanted.encode(), self.signature.encode())
        return is_signed and now.timestamp() < self.expires


def file_content_path(file_id: str) -> str:
    """Return the path of a file's content, as links sign it."""
    return f"/v1/files/{file_id}/content"


def output_path(job_id: str, index: int | str) -> str:
    """Return the path of a request's kept output, as links sign it."""
    return f"/v1/requests/{job_id}/outputs/{index}"


def signed_path(secret: bytes, path: str, expires_at: datetime) -> str:
    """Return `path` with the query that makes it a signed link."""
    expires = int(expires_at.timestamp())
    query = {EXPIRES: expires, SIGNATURE: _sign(secret, path, expires)}
    return f"{path}?{urlencode(query)}"


def _sign(secret: bytes, path: str, expires: int) -> str:
    digest = hmac.digest(secret, f"GET\n{path}\n{expires}".encode(), "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
