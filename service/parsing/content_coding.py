"""Decodes compressed bodies piece by piece: a small one may become endless (a gzip bomb)."""

import zlib
from typing import Final

from core.errors import MalformedRequest
from service.errors import UnsupportedMedia

IDENTITY: Final = "identity"
_GZIP_NAMES: Final = frozenset({"gzip", "x-gzip"})
_GZIP_FORMAT: Final = zlib.MAX_WBITS | 16
_NOT_GZIP: Final = "The body is not valid gzip."
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def is_gzip(content_encoding: str) -> bool:
    """Return whether a body of this `Content-Encoding` is compressed. Raises `UnsupportedMedia`."""
    name = content_encoding.strip().lower()
    if name in _GZIP_NAMES:
        return True
    if name in {IDENTITY, ""}:
        return False
    raise UnsupportedMedia


class GzipDecoder:
    """Decodes one body, which may have several members (RFC 1952, 2.2)."""

    def __init__(self, max_bytes: int) -> None:
        """Stop after `max_bytes` decoded bytes and one more."""
        self._left = max_bytes + 1
        self._member = zlib.decompressobj(_GZIP_FORMAT)
        self._is_between_members = False

    def decode(self, data: bytes) -> bytes:
        """Return what `data` adds to the body. Raises `MalformedRequest`."""
        decoded = []
        try:
            while data and self._left > 0:
                if self._is_between_members:
                    self._member = zlib.decompressobj(_GZIP_FORMAT)
                    self._is_between_members = False
                piece = self._member.decompress(data, self._left)
                decoded.append(piece)
                self._left -= len(piece)
                self._is_between_members = self._member.eof
                data = self._member.unused_data
        except zlib.error as error:
            raise MalformedRequest(_NOT_GZIP) from error
        return b"".join(decoded)

    def finish(self) -> None:
        """Raise `MalformedRequest` if the body ended too early."""
        if not self._is_between_members:
            raise MalformedRequest(_NOT_GZIP)
