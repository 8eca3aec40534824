"""Reads JSON that others write, also where it breaks the rules. Pure.

What is valid is used as it came. Else the text is repaired token by token: NaN, lone surrogates,
control characters, a byte order mark and other encodings than UTF-8. What is still invalid is read
member by member, so that an unreadable member loses itself alone. No function recurses with the
depth of the text, and each takes time in proportion to its length.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import orjson

MAX_DEPTH: Final = 500
"""Deeper values are passed on as text: many parsers of callers end at 1,000 levels, and our
documents add some of their own."""
MAX_MEMBERS: Final = 1000
"""Members of an invalid object that are read."""

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_REPLACEMENT: Final = "\ufffd"
_STRING: Final = r'"(?:[^"\\]++|\\.)*+"'
_VALUE_START: Final = re.compile(rf'{_STRING}|[\[{{]|[^\s,:"\[\]{{}}]++', re.DOTALL)
_BRACKETS: Final = re.compile(rf"{_STRING}|[\[{{]++|[\]}}]++", re.DOTALL)
_SPACE: Final = re.compile(r"\s*+")
_REPAIRABLE: Final = re.compile(rf"{_STRING}|[+-]?(?:NaN|Infinity)\b", re.DOTALL)
_SUSPECT: Final = re.compile(r"\\u[dD][89a-fA-F]|[\x00-\x1f\ud800-\udfff]")
"""A string without a match needs no repair."""
_CHARACTER: Final = re.compile(
    r"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2}|[\ud800-\udfff])"
    r"|(?P<escape>\\.)"
    r"|(?P<control>[\x00-\x1f])"
)


def parse_json(body: bytes) -> object:
    """Return the JSON value in `body`, repaired if necessary; None if it cannot be read."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_text(repair(decode(body)))


def parse_object(body: bytes) -> Mapping[str, object] | None:
    """Return the JSON object in `body`; None for anything else.

    Of an object that is invalid as a whole, or that ends early, it has the readable members.
    """
    found = parse_json(body)
    if found is None:
        texts = _member_texts(repair(decode(body)))
        found = {name: _parse_text(text) for name, text in texts.items()} or None
    return found if isinstance(found, dict) else None


def member_text(body: bytes, name: str) -> bytes | None:
    """Return a member of the object in `body` as JSON text; None if it has no complete one.

    It is byte for byte as it came if that is valid. A value that is unreadable or nested too deeply
    is returned as a JSON string that contains its text.
    """
    text = decode(body)
    if not _is_valid(body):
        text = repair(text)
    found = _member_texts(text).get(name)
    if found is None:
        return None
    raw = found.encode("utf-8", "replace")
    if _is_valid(raw) and not _is_deeper(found, MAX_DEPTH):
        return raw
    return orjson.dumps(raw.decode())


def decode(body: bytes) -> str:
    """Return the text of `body`: UTF-8, or what its byte order mark or its bytes suggest.

    Lone surrogates that were encoded like characters stay, for `repair`.
    """
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(encoding, "replace")
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return _decode_invalid(body)


def _decode_invalid(body: bytes) -> str:
    """Decode as UTF-8 if most of what is not ASCII is valid there, else as Windows' Latin-1."""
    text = body.decode("utf-8", "replace")
    invalid = text.count(_REPLACEMENT)
    valid = sum(not char.isascii() for char in text) - invalid
    return text if valid > invalid else body.decode("cp1252", "replace")


def repair(text: str) -> str:
    """Return JSON text without NaN, infinities, lone surrogates and control characters."""
    return _REPAIRABLE.sub(_repair_token, text)


def _repair_token(match: re.Match[str]) -> str:
    token = match.group()
    if not token.startswith('"'):
        return "null"
    return _CHARACTER.sub(_repair_character, token) if _SUSPECT.search(token) else token


def _repair_character(match: re.Match[str]) -> str:
    if match.lastgroup == "lone":
        return _REPLACEMENT
    return f"\\u{ord(match.group()):04x}" if match.lastgroup == "control" else match.group()


def _parse_text(text: str) -> object:
    try:
        return orjson.loads(text.encode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return None


def _is_valid(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_deeper(text: str, limit: int) -> bool:
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += _depth_change(match.group())
        if depth > limit:
            return True
    return False


def _depth_change(token: str) -> int:
    """Return by how many levels a token of `_BRACKETS` changes the depth."""
    if token[0] in "[{":
        return len(token)
    return -len(token) if token[0] in "]}" else 0


def _member_texts(text: str) -> Mapping[str, str]:
    """Return the text of each complete value of the object in `text`, by name."""
    return dict(islice(_iter_members(text), MAX_MEMBERS))


def _iter_members(text: str) -> Iterator[tuple[str, str]]:
    at = _skip_space(text, 0)
    if text[at : at + 1] != "{":
        return
    while text[at : at + 1] in {"{", ","}:
        start = _skip_space(text, at + 1)
        end = _value_end(text, start)
        if end is None:
            return
        name = _parse_text(text[start:end])
        at = _skip_space(text, end)
        if not isinstance(name, str) or text[at : at + 1] != ":":
            return
        start = _skip_space(text, at + 1)
        end = _value_end(text, start)
        if end is None:
            return
        yield name, text[start:end]
        at = _skip_space(text, end)


def _skip_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _value_end(text: str, start: int) -> int | None:
    """Return the position after the value at `start`; None if the text ends within it."""
    opening = _VALUE_START.match(text, start)
    if opening is None:
        return None
    if text[start] == '"':
        return opening.end()
    if text[start] not in "[{":
        # A number or word at the end of the text may have been cut off.
        return opening.end() if opening.end() < len(text) else None
    depth = 0
    for match in _BRACKETS.finditer(text, start):
        change = _depth_change(match.group())
        if depth + change <= 0:
            return match.start() + depth
        depth += change
    return None
