"""Whether a string may stand in a media field: a public https URL or a `data:` URI.

Resolves no name and fetches nothing: RunComfy does. File extensions say nothing, and are not read.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from core.targets import (
    LOCAL_SUFFIXES,
    AddressKind,
    Refusal,
    TargetPolicy,
    classify,
    is_local_name,
    read_url,
    shown,
)


class MediaKind(StrEnum):
    """What a media field holds; also the first half of its media types."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


# Source: RunComfy's page for images and videos (decimal megabytes). It gives no bound for audio.
LARGEST: Final[Mapping[MediaKind, int]] = {
    MediaKind.IMAGE: 50_000_000,
    MediaKind.VIDEO: 100_000_000,
    MediaKind.AUDIO: 100_000_000,
}
# A pre-signed URL with a session token passes 2,048 characters.
_POLICY: Final = TargetPolicy(max_length=8192)
_HEAD_CHARS: Final = 256
_MOST_HOST_CHARS: Final = 253
# Names that only a cloud's own machines resolve to its metadata service, and habits of intranets
# and of clusters that no registry lists; `core.targets` has the reserved ones.
PRIVATE_NAMES: Final = frozenset(
    {"metadata.goog", "metadata.tencentyun.com", "localdomain", "lan", "home", "corp"}
    | {"intranet", "private", "svc"}
)
# Nearly every URL in practice. Whatever this passes, the full judgement passes too, at ten times
# the price; a test holds the one against the other.
_PLAIN: Final = re.compile(
    r"https://(?P<host>(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?P<top>[a-z]{2,63}))"
    r"/[A-Za-z0-9\-._~/:@!$&'()*+,;=%?]{0,2000}"
)
_NEVER_PLAIN: Final = frozenset(name.rpartition(".")[2] for name in LOCAL_SUFFIXES) | PRIVATE_NAMES
_DATA: Final = re.compile(
    r"data:(?P<main>[a-z]+)/(?P<sub>[a-z0-9][a-z0-9.+-]*)(?:;[a-z0-9-]+=[a-z0-9._-]+)*;base64,",
    re.IGNORECASE,
)
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def objection(
    text: str, kind: MediaKind, most_bytes: int, subtypes: frozenset[str] = frozenset()
) -> str | None:
    """Why `text` cannot be a media field's value, or None.

    `most_bytes` and `subtypes` (the second half of media types; none means any) bind `data:` URIs
    alone: what a URL leads to is not known here.
    """
    if text[:5].lower() == "data:":
        return _data_objection(text, kind, most_bytes, subtypes)
    refused = None if is_plain(text) else refusal(text)
    return f"must be a public https URL or a data: URI; {refused}" if refused else None


def is_plain(url: str) -> bool:
    """Whether `url` is so ordinary that one look is enough."""
    found = _PLAIN.fullmatch(url)
    return (
        found is not None
        and found["top"] not in _NEVER_PLAIN
        and found["host"] not in PRIVATE_NAMES
        and len(found["host"]) <= _MOST_HOST_CHARS
    )


def refusal(url: str) -> str | None:
    """Why RunComfy should not be asked to fetch `url`, or None."""
    target = read_url(url, _POLICY)
    if isinstance(target, Refusal):
        return target.message
    if target.scheme != "https":
        return "the URL must begin with https://"
    if target.address is not None:
        kind = classify(target.address)
        return None if kind is AddressKind.PUBLIC else f"the host's address is {shown(kind)}"
    if is_local_name(target.host) or _is_private_name(target.host):
        return "the host's name is not a public one"
    return None


def _is_private_name(host: str) -> bool:
    return host in PRIVATE_NAMES or host.rpartition(".")[2] in PRIVATE_NAMES


def _data_objection(
    text: str, kind: MediaKind, most_bytes: int, subtypes: frozenset[str]
) -> str | None:
    head = _DATA.match(text[:_HEAD_CHARS])
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
    return None if size <= most_bytes else f"must be at most {most_bytes:,} bytes when decoded"


def decoded_size(payload: str) -> int | None:
    """The bytes that a base64 text (RFC 4648, section 4, padded) stands for; None if it is none."""
    if not payload.isascii() or len(payload) % 4:
        return None
    filling = len(payload[-2:]) - len(payload[-2:].rstrip("="))
    # Deleting the alphabet is faster than decoding, and leaves nothing of a sound text.
    if payload[: len(payload) - filling].encode().translate(None, _BASE64):
        return None
    return len(payload) // 4 * 3 - filling
