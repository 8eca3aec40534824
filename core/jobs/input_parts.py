"""The parts of an input that are kept as files, outside Redis.

The stored input has `"gateway-file:{file_id}"` in the place of each part. A part is either a file
that the caller named so, for which RunComfy gets an address, or a text that was too large for Redis
and comes back byte for byte. Pure.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from core.files import FILE_SCHEME

_REFERENCE: Final = re.compile(
    rb'(?<!\\)"' + FILE_SCHEME.encode() + rb'(?P<id>[A-Za-z0-9_-]{1,128})"(?![ \t\r\n]*:)'
)
"""A JSON string that is a reference, and no field's name. An escaped quote begins no string."""
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
"""A JSON string; outside of strings JSON has no quotes."""


@dataclass(frozen=True, slots=True)
class InputPart:
    """A part of a stored input: the bytes from `start` to before `end` stand for a file.

    `is_verbatim`: the file's content takes their place as it is; else an address of it does.
    """

    start: int
    end: int
    file_id: str
    is_verbatim: bool = False


@dataclass(frozen=True, slots=True)
class LargeText:
    """A text of an input that is too large for Redis: the bytes from `start` to before `end`."""

    start: int
    end: int


def find_references(body: bytes) -> tuple[InputPart, ...]:
    """Return the references to files in valid JSON, in order."""
    if FILE_SCHEME.encode() not in body:
        return ()
    found = _REFERENCE.finditer(body)
    return tuple(InputPart(*each.span(), each["id"].decode()) for each in found)


def find_large_texts(body: bytes, max_bytes: int) -> tuple[LargeText, ...]:
    """Return what must leave valid JSON so that no more than about `max_bytes` of it stay.

    Its strings above that size; the whole of it, if the rest is still larger and has no reference.
    """
    if len(body) <= max_bytes:
        return ()
    spans = (each.span() for each in _STRING.finditer(body))
    large = [LargeText(start, end) for start, end in spans if end - start > max_bytes]
    rest = len(body) - sum(each.end - each.start for each in large)
    if rest > max_bytes and not find_references(body):
        return (LargeText(0, len(body)),)
    return tuple(large)


def replace_texts(
    body: bytes, texts: Sequence[LargeText], file_ids: Sequence[str]
) -> tuple[bytes, tuple[InputPart, ...]]:
    """Return the input to store, with a file in the place of each text, and all its parts."""
    verbatim = [
        InputPart(text.start, text.end, file_id, is_verbatim=True)
        for text, file_id in zip(texts, file_ids, strict=True)
    ]
    parts = sorted((*find_references(body), *verbatim), key=lambda part: part.start)
    stored, moved, at = bytearray(), [], 0
    for part in parts:
        stored += body[at : part.start]
        start, at = len(stored), part.end
        stored += f'"{FILE_SCHEME}{part.file_id}"'.encode()
        moved.append(InputPart(start, len(stored), part.file_id, part.is_verbatim))
    stored += body[at:]
    return bytes(stored), tuple(moved)


def fill_in(stored: bytes, parts: Sequence[InputPart], contents: Sequence[bytes]) -> bytes:
    """Return the input for RunComfy: each part replaced by its content."""
    return b"".join(_filled(stored, parts, contents))


def _filled(
    stored: bytes, parts: Sequence[InputPart], contents: Sequence[bytes]
) -> Iterator[bytes]:
    at = 0
    for part, content in zip(parts, contents, strict=True):
        yield stored[at : part.start]
        yield content
        at = part.end
    yield stored[at:]
