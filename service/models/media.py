"""Validates media fields: a public https URL, or a `data:` URI.

Nothing is resolved or fetched here: RunComfy does that. File extensions are not checked, because
they do not determine the media type.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.errors import FieldError
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


_HEAD_CHARS: Final = 256


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


_DATA_URI: Final = re.compile(
    r"data:(?P<main>[a-z]+)/(?P<sub>[a-z0-9][a-z0-9.+-]*)(?:;[a-z0-9-]+=[a-z0-9._-]+)*;base64,",
    re.IGNORECASE,
)


_BASE64_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def find_media_error(
    text: str, kind: MediaKind, max_bytes: int, subtypes: frozenset[str] = frozenset()
) -> str | None:
    """Return why `text` is not a valid media value, or None.

    `max_bytes` and `subtypes` (the second half of media types; empty: any) apply to `data:` URIs
    only: the content behind a URL is not known here.
    """
    if text[:5].lower() == "data:":
        return _find_data_uri_error(text, kind, max_bytes, subtypes)
    error = None if is_plain_url(text) else find_url_error(text)
    return f"must be a public https URL or a data: URI; {error}" if error else None


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
    """Return why RunComfy must not fetch `url`, or None."""
    target = parse_url(url, _URL_POLICY)
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


def _is_private_name(host: str) -> bool:
    return host in PRIVATE_NAMES or host.rpartition(".")[2] in PRIVATE_NAMES


def _find_data_uri_error(
    text: str, kind: MediaKind, max_bytes: int, subtypes: frozenset[str]
) -> str | None:
    head = _DATA_URI.match(text[:_HEAD_CHARS])
    if head is None:
        return f"must be of the form data:{kind}/...;base64,... where it is a data: URI"
    if head["main"].lower() != kind:
        return f"must hold media of type {kind}/..."
    if subtypes and head["sub"].lower() not in subtypes:
        return f"must be {kind}/ followed by one of {', '.join(sorted(subtypes))}"
    size = decoded_size(text[head.end() :])
    if size is None:
        return "must hold valid base64 after the comma"
    if not size:
        return "must not be empty"
    return None if size <= max_bytes else f"must be at most {max_bytes:,} bytes when decoded"


def decoded_size(payload: str) -> int | None:
    """Return the decoded size of padded base64 (RFC 4648, section 4); None if it is invalid."""
    if not payload.isascii() or len(payload) % 4:
        return None
    padding = len(payload[-2:]) - len(payload[-2:].rstrip("="))
    # Deleting the alphabet is faster than decoding, and leaves nothing of a valid text.
    if payload[: len(payload) - padding].encode().translate(None, _BASE64_ALPHABET):
        return None
    return len(payload) // 4 * 3 - padding


# RunComfy's values of `format`; the plurals mark lists.
FORMATS: Final[Mapping[str, MediaKind]] = {
    "image_uri": MediaKind.IMAGE,
    "image_uris": MediaKind.IMAGE,
    "video_uri": MediaKind.VIDEO,
    "video_uris": MediaKind.VIDEO,
    "audio_uri": MediaKind.AUDIO,
    "audio_uris": MediaKind.AUDIO,
}


# The larger reading of "MB": RunComfy does not document which one its rule means.
_MEBIBYTE: Final = 2**20


FieldPath = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class MediaField:
    """The path of a media field (None: every item of a list), and what it may hold."""

    path: FieldPath
    kind: MediaKind
    max_bytes: int
    subtypes: frozenset[str] = frozenset()
    allows_empty: bool = False


def media_fields(schema: object, path: FieldPath = ()) -> Iterator[MediaField]:
    """Yield the media fields of one of RunComfy's schemas, by their `format`."""
    if not isinstance(schema, Mapping):
        return
    format_name = schema.get("format")
    if isinstance(format_name, str) and format_name in FORMATS:
        yield _parse_media_field(schema, path, FORMATS[format_name])
        return
    fields = schema.get("properties")
    for name, inner in fields.items() if isinstance(fields, Mapping) else ():
        yield from media_fields(inner, (*path, name))
    yield from media_fields(schema.get("items"), (*path, None))


def _parse_media_field(
    schema: Mapping[str, object], path: FieldPath, kind: MediaKind
) -> MediaField:
    max_bytes = min([MAX_MEDIA_BYTES[kind], *_size_limits(schema)])
    return MediaField(path, kind, max_bytes, allows_empty=schema.get("default") == "")


def _size_limits(schema: Mapping[str, object]) -> Iterator[int]:
    rules = schema.get("validations")
    for rule in rules if isinstance(rules, list) else ():
        limit = rule.get("validation_value") if isinstance(rule, Mapping) else None
        if isinstance(limit, int | float) and rule.get("validation_rule") == "file_size_mb<":
            yield int(limit * _MEBIBYTE)


def media_errors(fields: tuple[MediaField, ...], value: object) -> Iterator[FieldError]:
    """Yield the errors of an input's media. Values that are not strings are left to the schema."""
    for field in fields:
        # Most media fields of a model are optional, and absent from most inputs.
        if isinstance(value, dict) and field.path and field.path[0] not in value:
            continue
        for path, text in _values_at(value, field.path):
            if isinstance(text, str) and (text or not field.allows_empty):
                error = find_media_error(text, field.kind, field.max_bytes, field.subtypes)
                if error:
                    yield FieldError(json_pointer(path), error)


_LocatedValue = tuple[tuple[str | int, ...], object]


def _values_at(value: object, path: FieldPath) -> Sequence[_LocatedValue]:
    """Return the values at `path` with their paths; lists there are flattened."""
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
