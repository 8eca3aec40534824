"""The content of media that an input carries itself: the size of `data:` URIs, an image's pixels.

Only headers are read, of a bounded part of the content; nothing is decoded as an image.
"""

import operator
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import imagesize

DATA_URI: Final = re.compile(
    r"data:(?P<main>[a-z]+)/(?P<sub>[a-z0-9][a-z0-9.+-]*)(?:;[a-z0-9-]+=[a-z0-9._-]+)*;base64,",
    re.IGNORECASE,
)
HEAD_CHARS: Final = 256
_BASE64_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# A photograph's metadata and colour profile come before its size.
_HEADER_CHARS: Final = 4 * 2**16
_MEBIBYTE: Final = 2**20
"""The larger reading of "MB": RunComfy does not document which one its rule means."""
_MAGIC: Final[Mapping[str, re.Pattern[bytes]]] = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "gif": re.compile(rb"GIF8[79]a"),
    "webp": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "bmp": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]", re.DOTALL),
    "tiff": re.compile(rb"II\*\x00|MM\x00\*"),
    "avif": re.compile(rb".{4}ftypavi[fs]", re.DOTALL),
    "heic": re.compile(rb".{4}ftyp(?:hei[cmsx]|mif1)", re.DOTALL),
    "mp4": re.compile(rb".{4}ftyp", re.DOTALL),
    "pdf": re.compile(rb"%PDF-"),
}
"""The first bytes of formats; the first that matches counts."""
_MEASURED: Final = frozenset({"png", "jpeg", "gif", "webp", "bmp"})
"""The formats whose size is read: those with a short header of fixed form."""


def decoded_size(payload: str) -> int | None:
    """Return the decoded size of padded base64 (RFC 4648, section 4); None if it is invalid."""
    if not payload.isascii() or len(payload) % 4:
        return None
    padding = len(payload[-2:]) - len(payload[-2:].rstrip("="))
    # Deleting the alphabet is faster than decoding, and leaves nothing of a valid text.
    if payload[: len(payload) - padding].encode().translate(None, _BASE64_ALPHABET):
        return None
    return len(payload) // 4 * 3 - padding


def detect_format(payload: str) -> str | None:
    """Return the format of valid base64 by its first bytes, such as `png`; None if unknown."""
    start = b64decode(payload[:64])
    return next((name for name, magic in _MAGIC.items() if magic.match(start)), None)


def image_pixels(payload: str) -> tuple[int, int] | None:
    """Return width and height of an image in valid base64; None if its header lacks them."""
    if detect_format(payload) not in _MEASURED:
        return None
    try:
        width, height = imagesize.get(BytesIO(b64decode(payload[:_HEADER_CHARS])))
    except Exception:  # noqa: BLE001 - the library raises whatever a damaged header causes
        return None
    is_known = isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0
    return (width, height) if is_known else None


@dataclass(frozen=True, slots=True)
class ContentRule:
    """One of RunComfy's `validations`: `measure` must be above or below `limit`.

    `measure` is `file_size_mb`, `width_pixels`, `height_pixels` or `width/height`. `message` is
    RunComfy's own text, or ''.
    """

    measure: str
    operator: str
    limit: float
    message: str = ""

    def allows(self, value: float) -> bool:
        """Return whether the rule holds for this value."""
        return _COMPARISONS[self.operator][0](value, self.limit)

    def error(self) -> str:
        """Return RunComfy's own text, or one with the same meaning."""
        words = _COMPARISONS[self.operator][1]
        return self.message or f"must have a {self.measure} of {words} {self.limit:g}"


_COMPARISONS: Final[Mapping[str, tuple[Callable[[float, float], bool], str]]] = {
    "<": (operator.lt, "less than"),
    "<=": (operator.le, "at most"),
    ">": (operator.gt, "more than"),
    ">=": (operator.ge, "at least"),
}
SIZE: Final = "file_size_mb"
_RULE: Final = re.compile(r"(file_size_mb|width_pixels|height_pixels|width/height)\s*([<>]=?)")
_MAX_MESSAGE: Final = 300


def parse_content_rules(schema: Mapping[str, object]) -> tuple[ContentRule, ...]:
    """Return the rules of a field's `validations` that are understood; others are left out."""
    entries = schema.get("validations")
    found = (_parse_rule(entry) for entry in entries) if isinstance(entries, list) else ()
    return tuple(rule for rule in found if rule)


def _parse_rule(entry: object) -> ContentRule | None:
    if not isinstance(entry, Mapping):
        return None
    rule, limit, message = (entry.get(f"validation_{part}") for part in ("rule", "value", "error"))
    parts = _RULE.fullmatch(rule) if isinstance(rule, str) else None
    if parts is None or not isinstance(limit, int | float) or isinstance(limit, bool):
        return None
    text = message if isinstance(message, str) and message.isprintable() else ""
    return ContentRule(parts[1], parts[2], limit, text[:_MAX_MESSAGE])


def content_errors(payload: str, size: int, rules: tuple[ContentRule, ...]) -> Iterator[str]:
    """Yield the text of each rule that valid base64 of `size` bytes breaks, each text once."""
    needs_pixels = any(rule.measure != SIZE for rule in rules)
    return broken_rules(size, image_pixels(payload) if needs_pixels else None, rules)


def broken_rules(
    size: int, pixels: tuple[int, int] | None, rules: tuple[ContentRule, ...]
) -> Iterator[str]:
    """Yield the text of each rule that media of `size` bytes and these pixels break, each once."""
    measures = {SIZE: size / _MEBIBYTE}
    if pixels is not None:
        width, height = pixels
        measures |= {
            "width_pixels": width,
            "height_pixels": height,
            "width/height": width / height,
        }
    broken = (
        rule.error()
        for rule in rules
        if rule.measure in measures and not rule.allows(measures[rule.measure])
    )
    yield from dict.fromkeys(broken)
