"""Small files of each media type."""

import struct
import zlib
from typing import Final

_JPEG_SIZE: Final = b"\xff\xc0\x00\x11\x08\x00\x14\x00\x1e\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"


def png(width: int = 30, height: int = 20, padding: int = 0) -> bytes:
    """A PNG without pixels; `padding` bytes are after it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (_png_part(b"IHDR", header), _png_part(b"IDAT", zlib.compress(b"")))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _png_part(b"IEND", b"") + bytes(padding)


def _png_part(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def jpeg() -> bytes:
    """A JPEG of 30 by 20 pixels, without its pixels."""
    start = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    return start + _JPEG_SIZE + b"\xff\xd9" + bytes(64)


def wav(seconds: int = 1) -> bytes:
    """Silence: 8 kHz, 16 bit."""
    size = 16_000 * seconds
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, *_WAVE)
    return head + struct.pack("<4sI", b"data", size) + bytes(size)


_WAVE: Final = (8000, 16_000, 2, 16)


def mp4(size: int = 100) -> bytes:
    """The first bytes of an MP4, and then zeros up to `size` bytes."""
    return (struct.pack(">I4s4sI", 20, b"ftyp", b"isom", 512) + b"isom").ljust(size, b"\0")


HTML: Final = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
SVG: Final = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>'
