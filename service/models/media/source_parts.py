"""The private sources that an input names: where they are in it, and what they may hold. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import orjson

from core.errors import FieldError, InvalidInput
from core.jobs.input_parts import MAX_REFERENCES, InputPart, PartKind
from core.jobs.json_strings import is_name, string_spans
from service.models.media.fields import MediaField, largest_file, media_types_of, values_at
from service.models.media.named_files import NamedFiles

_URL: Final = re.compile(rb'"https?:', re.IGNORECASE)
"""How a JSON string begins that may be a URL."""


def find_source_parts(
    body: bytes, fields: tuple[MediaField, ...] | None, value: object, files: NamedFiles
) -> tuple[InputPart, ...]:
    """Return the private sources of a valid input, by their place in its text.

    `fields` are the model's media fields; None for a model without schema, where any value may be
    one. Raises `InvalidInput` for too many, and for one that is not the whole of a media field: it
    would be replaced too.
    """
    if not files.sources.prefixes:
        return ()
    found = list(_find_urls(body, files))
    by_url = {} if fields is None else _fields_by_url(fields, value, files)
    if fields is not None and len(found) != sum(map(len, by_url.values())):
        raise _invalid("may have addresses of private sources as the whole of a media field only")
    if len(found) + files.references > MAX_REFERENCES:
        raise _invalid(f"names more than {MAX_REFERENCES} files")
    return tuple(_limited(part, by_url.get(url, ()), files) for url, part in found)


def _find_urls(body: bytes, files: NamedFiles) -> Iterator[tuple[str, InputPart]]:
    for start, end in string_spans(body):
        if not _URL.match(body, start) or is_name(body, end):
            continue
        url = orjson.loads(body[start:end])
        if files.sources.contain(url):
            yield url, InputPart(start, end, "", PartKind.SOURCE)


def _fields_by_url(
    fields: tuple[MediaField, ...], value: object, files: NamedFiles
) -> dict[str, list[MediaField]]:
    found: dict[str, list[MediaField]] = {}
    for field in fields:
        for _, text in values_at(value, field.path):
            if isinstance(text, str) and files.sources.contain(text):
                found.setdefault(text, []).append(field)
    return found


def _limited(part: InputPart, fields: Sequence[MediaField], files: NamedFiles) -> InputPart:
    """Return the part with what all of the fields that have its address take."""
    if not fields:
        return InputPart(part.start, part.end, "", part.kind, max_bytes=files.max_bytes)
    types = [
        each
        for each in media_types_of(fields[0])
        if all(each in media_types_of(field) for field in fields)
    ]
    most = min(largest_file(field, files) for field in fields)
    return InputPart(part.start, part.end, "", part.kind, tuple(types), most)


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(f"The input {message}.", fields=(FieldError("", message),))
