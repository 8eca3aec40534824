"""Decodes compressed bodies piece by piece: a small one may become endless (a gzip bomb)."""

import zlib
from typing import Final

from core.errors import MalformedRequest
from service.errors import UnsupportedMedia

IDENTITY: Final = "identity"
_GZIP_NAMES: Final = frozenset({"gzip", "x-gzip"})
_GZIP_FORMAT: Final = zlib.MAX_WBITS | 16
_NOT_GZIP: Final = "The body is not valid gzip."
MAX_PIECE: Final = 256 * 1024
"""A piece is checked against the limits before the next one is decoded."""
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
    """Decodes one body, which may have several members (RFC 1952, 2.2), in bounded pieces."""

    def __init__(self) -> None:
        """Start with the first member."""
        self._member = zlib.decompressobj(_GZIP_FORMAT)
        self._is_between_members = False
        self._fed = b""

    def feed(self, data: bytes) -> None:
        """Add a part of the body; all pieces of the one before have been taken."""
        self._fed += data

    def take(self) -> bytes:
        """Return the next piece, of `MAX_PIECE` bytes at most; nothing: more must be fed.

        Raises `MalformedRequest`.
        """
        try:
            while True:
                if self._is_between_members:
                    if not self._fed:
                        return b""
                    self._member = zlib.decompressobj(_GZIP_FORMAT)
                piece = self._member.decompress(self._fed, MAX_PIECE)
                self._is_between_members = self._member.eof
                member = self._member
                self._fed = member.unused_data if member.eof else member.unconsumed_tail
                if piece or not self._fed:
                    return piece
        except zlib.error as error:
            raise MalformedRequest(_NOT_GZIP) from error

    def finish(self) -> None:
        """Raise `MalformedRequest` if the body ended too early."""
        if not self._is_between_members:
            raise MalformedRequest(_NOT_GZIP)
