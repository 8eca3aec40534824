"""Validates media fields: a public https URL, or a `data:` URI.

Nothing is resolved or fetched here: RunComfy does that. What is known without fetching is checked:
the content of `data:` URIs, and a file extension that names a format which the model does not read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import quote

import idna

from core.errors import FieldError
from core.files.records import FILE_SCHEME, MEDIA_EXTENSIONS, StoredFile
from core.jobs.input_parts import MAX_REFERENCES
from core.webhooks.url_policy import (
    LOCAL_SUFFIXES,
    AddressKind,
    Refusal,
    TargetPolicy,
    classify_address,
    is_local_name,
    kind_phrase,
    parse_url,
)
from service.models.media.content import (
    DATA_URI,
    HEAD_CHARS,
    ContentRule,
    broken_rules,
    content_errors,
    decoded_size,
    detect_format,
    parse_content_rules,
)
from service.models.media.named_files import NO_NAMED_FILES, NamedFiles
from service.models.validation import json_pointer


class MediaKind(StrEnum):
    """The kind of a media field; also the type of its media types (`image/…`)."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


# Source: RunComfy's page for images and videos (decimal megabytes). It has no limit for audio.
MAX_MEDIA_BYTES: Final[Mapping[MediaKind, int]] = {
    MediaKind.IMAGE: 50_000_000,
    MediaKind.VIDEO: 100_000_000,
    MediaKind.AUDIO: 100_000_000,
}


# Pre-signed URLs with a session token are longer than 2,048 characters.
_URL_POLICY: Final = TargetPolicy(max_length=8192)


_MAX_HOST_LENGTH: Final = 253


# Names of cloud metadata services, and names that intranets and clusters use without any registry;
# `core.webhooks.url_policy` has the reserved ones.
PRIVATE_NAMES: Final = frozenset(
    {"metadata.goog", "metadata.tencentyun.com", "localdomain", "lan", "home", "corp"}
    | {"intranet", "private", "svc"}
)


# A fast check that nearly every URL passes. Whatever passes it also passes the full check, which
# takes ten times as long; a test compares the two.
_PLAIN_URL: Final = re.compile(
    r"https://(?P<host>(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?P<top>[a-z]{2,63}))"
    r"/[A-Za-z0-9\-._~/:@!$&'()*+,;=%?]{0,2000}"
)


_NON_PUBLIC_SUFFIXES: Final = (
    frozenset(name.rpartition(".")[2] for name in LOCAL_SUFFIXES) | PRIVATE_NAMES
)


_URL_PARTS: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<host>[^/?#]*?)(?P<port>:[0-9]*)?(?P<rest>[/?#].*)?",
    re.DOTALL,
)


# Formats that a model may not read; an extension that is not here means nothing.
_MEDIA_EXTENSIONS: Final = frozenset(
    {"jpg", "jpeg", "png", "bmp", "webp", "gif", "tif", "tiff", "svg", "avif", "heic", "heif"}
    | {"ico", "psd", "pdf", "mp4", "m4v", "mov", "webm", "mkv", "avi", "mpg", "mpeg"}
    | {"mp3", "wav", "ogg", "oga", "opus", "flac", "m4a", "aac"}
)


def find_media_error(
    text: str,
    kind: MediaKind,
    max_bytes: int,
    subtypes: frozenset[str] = frozenset(),
    rules: tuple[ContentRule, ...] = (),
) -> str | None:
    """Return why `text` is not a valid media value, or None.

    `max_bytes` and `rules` apply to `data:` URIs only: the content behind a URL is not known here.
    `subtypes` are the second halves of the media types that the model reads; empty: any.
    """
    if text[:5].lower() == "data:":
        return _find_data_uri_error(text, kind, max_bytes, subtypes, rules)
    error = None if is_plain_url(text) else find_url_error(text)
    if error:
        return f"must be a public https URL or a data: URI; {error}"
    return _find_extension_error(text, kind, subtypes)


def _find_extension_error(url: str, kind: MediaKind, subtypes: frozenset[str]) -> str | None:
    name = url.partition("?")[0].partition("#")[0].rpartition("/")[2]
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    if subtypes and extension in _MEDIA_EXTENSIONS - subtypes:
        return f"{_format_subtypes(kind, subtypes)}; the URL ends in .{extension}"
    return None


def _format_subtypes(kind: MediaKind, subtypes: frozenset[str]) -> str:
    return f"must be {kind}/ followed by one of {', '.join(sorted(subtypes))}"


def is_plain_url(url: str) -> bool:
    """Return whether `url` passes the fast check; if not, it may still be valid."""
    found = _PLAIN_URL.fullmatch(url)
    return (
        found is not None
        and found["top"] not in _NON_PUBLIC_SUFFIXES
        and found["host"] not in PRIVATE_NAMES
        and len(found["host"]) <= _MAX_HOST_LENGTH
    )


def find_url_error(url: str) -> str | None:
    """Return why RunComfy must not fetch `url`, or None. It is judged in its form in ASCII."""
    ascii_url = to_ascii_url(url)
    if ascii_url is None:
        return "the URL has no form in ASCII (IDNA, RFC 3986)"
    target = parse_url(ascii_url, _URL_POLICY)
    if isinstance(target, Refusal):
        return target.message
    if target.scheme != "https":
        return "the URL must begin with https://"
    if target.address is not None:
        kind = classify_address(target.address)
        return None if kind is AddressKind.PUBLIC else f"the host's address is {kind_phrase(kind)}"
    if is_local_name(target.host) or _is_private_name(target.host):
        return "the host's name is not a public one"
    return None


def to_ascii_url(url: str) -> str | None:
    """Return the URL with its host by IDNA (UTS 46) and the rest percent-encoded, as clients do.

    None if it has no such form. A URL in ASCII is returned as it is.
    """
    if url.isascii():
        return url
    parts = _URL_PARTS.fullmatch(url) if len(url) <= _URL_POLICY.max_length else None
    if parts is None or len(parts["host"]) > _MAX_HOST_LENGTH:
        return None
    try:
        host = parts["host"]
        if not host.isascii():
            host = idna.encode(host, uts46=True).decode()
        rest = "".join(char if char.isascii() else quote(char) for char in parts["rest"] or "")
    except UnicodeError:  # `idna.IDNAError` is one; so is the error of a lone surrogate
        return None
    return f"{parts['scheme']}{host}{parts['port'] or ''}{rest}"


def _is_private_name(host: str) -> bool:
    return host in PRIVATE_NAMES or host.rpartition(".")[2] in PRIVATE_NAMES


def _find_data_uri_error(
    text: str,
    kind: MediaKind,
    max_bytes: int,
    subtypes: frozenset[str],
    rules: tuple[ContentRule, ...],
) -> str | None:
    head = DATA_URI.match(text[:HEAD_CHARS])
    if head is None:
        return f"must be of the form data:{kind}/...;base64,... where it is a data: URI"
    if head["main"].lower() != kind:
        return f"must hold media of type {kind}/..."
    if subtypes and head["sub"].lower() not in subtypes:
        return _format_subtypes(kind, subtypes)
    payload = text[head.end() :]
    size = decoded_size(payload)
    if not size:
        return "must not be empty" if size == 0 else "must hold valid base64 after the comma"
    found = detect_format(payload) if subtypes else None
    if found and found not in subtypes:
        return f"{_format_subtypes(kind, subtypes)}; the content is {found}"
    return next(_content_errors(payload, size, max_bytes, rules), None)


def _content_errors(
    payload: str, size: int, max_bytes: int, rules: tuple[ContentRule, ...]
) -> Iterator[str]:
    # RunComfy's own text first, if both are broken.
    yield from content_errors(payload, size, rules)
    if size > max_bytes:
        yield f"must be at most {max_bytes:,} bytes when decoded"


# RunComfy's values of `format`; the plurals mark lists.
FORMATS: Final[Mapping[str, MediaKind]] = {
    "image_uri": MediaKind.IMAGE,
    "image_uris": MediaKind.IMAGE,
    "video_uri": MediaKind.VIDEO,
    "video_uris": MediaKind.VIDEO,
    "audio_uri": MediaKind.AUDIO,
    "audio_uris": MediaKind.AUDIO,
}


FieldPath = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class MediaField:
    """The path of a media field (None: every item of a list), and what it may hold."""

    path: FieldPath
    kind: MediaKind
    max_bytes: int
    subtypes: frozenset[str] = frozenset()
    rules: tuple[ContentRule, ...] = ()
    allows_empty: bool = False
    """Whether '' stands for no media, as where the field is optional."""


def media_fields(
    schema: object, path: FieldPath = (), *, is_optional: bool = False
) -> Iterator[MediaField]:
    """Yield the media fields of one of RunComfy's schemas, by their `format`."""
    if not isinstance(schema, Mapping):
        return
    format_name = schema.get("format")
    if isinstance(format_name, str) and format_name in FORMATS:
        field = _parse_media_field(schema, path, FORMATS[format_name])
        yield replace(field, allows_empty=is_optional or field.allows_empty)
        return
    fields, required = schema.get("properties"), schema.get("required")
    needed = required if isinstance(required, list) else []
    for name, inner in fields.items() if isinstance(fields, Mapping) else ():
        yield from media_fields(inner, (*path, name), is_optional=name not in needed)
    yield from media_fields(schema.get("items"), (*path, None))


def _parse_media_field(
    schema: Mapping[str, object], path: FieldPath, kind: MediaKind
) -> MediaField:
    rules = parse_content_rules(schema)
    is_empty = schema.get("default") == ""
    return MediaField(path, kind, MAX_MEDIA_BYTES[kind], rules=rules, allows_empty=is_empty)


def media_errors(
    fields: tuple[MediaField, ...], value: object, files: NamedFiles = NO_NAMED_FILES
) -> Iterator[FieldError]:
    """Yield the errors of an input's media. Values that are not strings are left to the schema.

    `files` are those that the input names.
    """
    for field in fields:
        # Most media fields of a model are optional, and absent from most inputs.
        if isinstance(value, dict) and field.path and field.path[0] not in value:
            continue
        for path, text in values_at(value, field.path):
            if isinstance(text, str) and (text or not field.allows_empty):
                error = _find_value_error(text, field, files)
                if error:
                    yield FieldError(json_pointer(path), error)


def _find_value_error(text: str, field: MediaField, files: NamedFiles) -> str | None:
    if files.sources.contain(text):
        return _find_extension_error(text, field.kind, field.subtypes)
    if not text.startswith(FILE_SCHEME):
        return find_media_error(text, field.kind, field.max_bytes, field.subtypes, field.rules)
    file = files.find(text)
    if file is None:
        return "must name a file of this tenant"
    return _find_type_error(file, field) or _find_size_error(file, field, files)


def _find_type_error(file: StoredFile, field: MediaField) -> str | None:
    if file.media_type in media_types_of(field):
        return None
    if file.media_type.partition("/")[0] != field.kind:
        return f"must hold media of type {field.kind}/...; the file is {file.media_type}"
    return f"{_format_subtypes(field.kind, field.subtypes)}; the file is {file.media_type}"


def media_types_of(field: MediaField) -> tuple[str, ...]:
    """Return the types of files that a field takes."""
    return tuple(
        media_type
        for media_type, extension in MEDIA_EXTENSIONS.items()
        if media_type.startswith(f"{field.kind}/")
        and (not field.subtypes or {media_type.partition("/")[2], extension} & field.subtypes)
    )


def largest_file(field: MediaField, files: NamedFiles) -> int:
    """Return the size in bytes of the largest file that a field takes and that can be delivered."""
    return field.max_bytes if files.max_bytes is None else min(field.max_bytes, files.max_bytes)


def _find_size_error(file: StoredFile, field: MediaField, files: NamedFiles) -> str | None:
    pixels = None if file.width is None or file.height is None else (file.width, file.height)
    broken = next(broken_rules(file.bytes, pixels, field.rules), None)
    largest = largest_file(field, files)
    return broken or (f"must be at most {largest:,} bytes" if file.bytes > largest else None)


def reference_errors(
    fields: tuple[MediaField, ...] | None, value: object, files: NamedFiles
) -> tuple[FieldError, ...]:
    """Return the error of references to files that are no media; `fields` None: of no known file.

    All references in the text must be values of media fields, as they are written: what else has
    the form of one would be replaced too. An input whose text has none needs no search: a media
    value that is one after all is `media_errors`'s, as it names no known file.
    """
    if files.references == 0:
        return ()
    if files.references > MAX_REFERENCES:
        return (FieldError("", f"names more than {MAX_REFERENCES} files"),)
    if fields is None:
        if not files.names_others:
            return ()
        return (FieldError("", "must name files of this tenant only"),)
    if count_references(fields, value) == files.references:
        return ()
    return (FieldError("", f"may have {FILE_SCHEME}... as the whole of a media field only"),)


def count_references(fields: tuple[MediaField, ...], value: object) -> int:
    """Return how many media of an input are references to files."""
    found = (text for field in fields for _, text in values_at(value, field.path))
    return sum(isinstance(text, str) and text.startswith(FILE_SCHEME) for text in found)


_LocatedValue = tuple[tuple[str | int, ...], object]


def values_at(value: object, path: FieldPath) -> Sequence[_LocatedValue]:
    """Return the values at a field's path with their own paths; lists there are flattened."""
    found: list[_LocatedValue] = [((), value)]
    for step in path:
        found = [inner for here, item in found for inner in _child_values(item, step, here)]
    while any(isinstance(item, list) for _, item in found):
        found = [inner for here, item in found for inner in _child_values(item, None, here)]
    return found


def _child_values(
    value: object, step: str | None, path: tuple[str | int, ...]
) -> Sequence[_LocatedValue]:
    if step is not None:
        return [((*path, step), value[step])] if isinstance(value, dict) and step in value else ()
    if isinstance(value, list):
        return [((*path, at), item) for at, item in enumerate(value)]
    return ((path, value),)
