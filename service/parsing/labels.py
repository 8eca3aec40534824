"""Parses labels: `team:growth` in a query, `team=growth` in a header, an object in JSON. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from core.errors import MalformedRequest
from core.labels import (
    LABEL_KEY_PATTERN,
    LABEL_VALUE_PATTERN,
    MAX_LABELS,
    Labels,
    is_label_key,
    is_label_value,
    labels_from,
    merge_labels,
)
from service.parsing.fields import InvalidField

LABELS_HEADER: Final = "gateway-labels"
LABEL_SCHEMA: Final = {
    "type": "array",
    "items": {"type": "string", "pattern": f"^{LABEL_KEY_PATTERN}:{LABEL_VALUE_PATTERN}$"},
    "maxItems": MAX_LABELS,
}
"""Of the option of a query, which is repeated for each label."""
LABELS_SCHEMA: Final = {
    "type": "object",
    "propertyNames": {"pattern": f"^{LABEL_KEY_PATTERN}$"},
    "additionalProperties": {"type": "string", "pattern": f"^{LABEL_VALUE_PATTERN}$"},
    "maxProperties": MAX_LABELS,
}
"""Of labels in JSON."""
_KEY_RULE: Final = "a key has 1 to 63 of a-z, 0-9, _, . and -, and begins with a letter"
_VALUE_RULE: Final = "a value has 1 to 64 letters, digits and any of _.:/@+-"
_WHITESPACE: Final = " \t"


def parse_label_option(text: str) -> Labels:
    """Parse `team:growth`, or several joined with commas. Raises `InvalidField`."""
    return _labels(part.partition(":") for part in text.split(","))


def parse_label_object(value: object) -> Labels:
    """Parse `{"team": "growth"}`. Raises `InvalidField`."""
    if not isinstance(value, Mapping):
        raise InvalidField('must be an object of texts, such as {"team": "growth"}')
    return _labels((str(key), ":", text) for key, text in value.items())


def parse_label_headers(headers: Sequence[str]) -> Labels:
    """Parse `Gateway-Labels: team=growth, project="x"`. Raises `MalformedRequest`.

    A dictionary of RFC 9651 whose values are tokens or strings.
    """
    parts = [part.strip(_WHITESPACE) for header in headers for part in header.split(",")]
    pairs = (part.partition("=") for part in parts if part)
    try:
        return _labels((key, sign, _unquoted(value)) for key, sign, value in pairs)
    except InvalidField as error:
        raise MalformedRequest(f"Gateway-Labels {error}.") from error


def with_header_labels(labels: Labels, headers: Sequence[str]) -> Labels:
    """Return the labels of a call: of its header, and `labels`, which come first.

    Raises `MalformedRequest`.
    """
    if not headers:
        return labels
    merged = merge_labels(parse_label_headers(headers), labels)
    if len(merged) > MAX_LABELS:
        raise MalformedRequest(f"A request has {MAX_LABELS} labels at most.")
    return merged


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1] if is_quoted else value


def _labels(triples: Iterable[tuple[str, str, object]]) -> Labels:
    pairs: dict[str, str] = {}
    for key, sign, value in triples:
        if not sign or not is_label_key(key):
            raise InvalidField(f"must be pairs of a key and a value: {_KEY_RULE}")
        if not isinstance(value, str) or not is_label_value(value):
            raise InvalidField(f"has no such value of {key}: {_VALUE_RULE}")
        if pairs.setdefault(key, value) != value:
            raise InvalidField(f"has two values of {key}")
    if len(pairs) > MAX_LABELS:
        raise InvalidField(f"must be {MAX_LABELS} labels at most")
    return labels_from(pairs)
