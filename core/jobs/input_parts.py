"""The parts of an input that are kept as files, outside Redis.

The stored input has `"gateway-file:{file_id}"` in the place of a file that the caller named so, for
which RunComfy gets an address, and of a text that was too large for Redis, which comes back byte
for byte. A private source is stored as the caller wrote it: it is a file once it is fetched.
Pure.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Final

from core.files.records import FILE_SCHEME
from core.jobs.json_strings import find_all, is_name, string_spans

MAX_REFERENCES: Final = 100
"""Files and private sources that one input may name."""
_REFERENCE: Final = re.compile(
    rb'(?<!\\)"' + FILE_SCHEME.encode() + rb'(?P<id>[A-Za-z0-9_-]{1,128})"'
)
"""A JSON string that is a reference, or a field's name. An escaped quote begins no string."""


class PartKind(StrEnum):
    """What takes the place of a part in the body of the paid submit."""

    FILE = "file"
    """An address of the file, or its content as a `data:` URI."""
    TEXT = "text"
    """The file's content as it is."""
    SOURCE = "source"
    """As `FILE`, once a worker has fetched it: the part is the address of a private source."""


@dataclass(frozen=True, slots=True)
class InputPart:
    """A part of a stored input: the bytes from `start` to before `end` stand for a file.

    Of a source `file_id` is empty until it is fetched; its content must have one of `media_types`
    (empty: any that a file may have) and at most `max_bytes`.
    """

    start: int
    end: int
    file_id: str
    kind: PartKind = PartKind.FILE
    media_types: tuple[str, ...] = ()
    max_bytes: int | None = None

    def as_file(self, file_id: str) -> "InputPart":
        """Return the part of a source that was fetched as this file."""
        return InputPart(self.start, self.end, file_id)


def first_source(parts: Sequence[InputPart]) -> InputPart | None:
    """Return the first private source that is not fetched; None if there is none."""
    return next((part for part in parts if part.kind is PartKind.SOURCE), None)


@dataclass(frozen=True, slots=True)
class LargeText:
    """A text of an input that is too large for Redis: the bytes from `start` to before `end`."""

    start: int
    end: int


def find_references(body: bytes) -> tuple[InputPart, ...]:
    """Return the references to files in valid JSON, in order.

    Of too many only the first `MAX_REFERENCES` and one more: megabytes could be references.
    """
    found = (_REFERENCE.match(body, at) for at in find_all(body, b'"' + FILE_SCHEME.encode()))
    parts = (
        InputPart(*each.span(), each["id"].decode())
        for each in found
        if each and not is_name(body, each.end())
    )
    return tuple(islice(parts, MAX_REFERENCES + 1))


def find_large_texts(
    body: bytes, max_bytes: int, named: Sequence[InputPart] = ()
) -> tuple[LargeText, ...]:
    """Return what must leave valid JSON so that no more than about `max_bytes` of it stay.

    Its strings above that size; the whole of it, if the rest is still larger and no file is `named`
    in it.
    """
    if len(body) <= max_bytes:
        return ()
    spans = string_spans(body)
    large = [LargeText(start, end) for start, end in spans if end - start > max_bytes]
    rest = len(body) - sum(each.end - each.start for each in large)
    if rest > max_bytes and not named:
        return (LargeText(0, len(body)),)
    return tuple(large)


def replace_texts(
    body: bytes,
    named: Sequence[InputPart],
    texts: Sequence[LargeText],
    file_ids: Sequence[str],
) -> tuple[bytes, tuple[InputPart, ...]]:
    """Return the input to store, with a file in the place of each text, and all its parts.

    `named` are the files and sources that `body` names.
    """
    moved_texts = [
        InputPart(text.start, text.end, file_id, PartKind.TEXT)
        for text, file_id in zip(texts, file_ids, strict=True)
    ]
    stored, moved, at = bytearray(), [], 0
    for part in sorted((*named, *moved_texts), key=lambda part: part.start):
        stored += body[at : part.start]
        start, at = len(stored), part.end
        is_source = part.kind is PartKind.SOURCE
        stored += body[part.start : part.end] if is_source else _reference(part.file_id)
        moved.append(replace(part, start=start, end=len(stored)))
    stored += body[at:]
    return bytes(stored), tuple(moved)


def _reference(file_id: str) -> bytes:
    return f'"{FILE_SCHEME}{file_id}"'.encode()


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
