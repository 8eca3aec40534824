"""Labels of a job: pairs of a key and a value by which its cost is grouped and lists are filtered.

A label is the text `key=value`. No key has a `=`, so that a label has one reading; neither has a
comma or a quote, so that labels can be listed in one line and found in a record's JSON.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

MAX_LABELS: Final = 16
MAX_NAMED_LABELS: Final = 8
MAX_NAMED_VALUES: Final = 50
"""Labels, and values of each, that an operator may name for metrics."""
LABEL_KEY_PATTERN: Final = r"[a-z][a-z0-9_.-]{0,62}"
LABEL_VALUE_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,63}"
_KEY: Final = re.compile(LABEL_KEY_PATTERN)
_VALUE: Final = re.compile(LABEL_VALUE_PATTERN)

Labels = tuple[str, ...]
"""Labels in the order of their keys, each key once."""


def is_label_key(text: str) -> bool:
    """Return whether `text` is a key: lower-case letters, digits and `_.-`, 63 at most."""
    return _KEY.fullmatch(text) is not None


def is_label_value(text: str) -> bool:
    """Return whether `text` is a value: letters, digits and `_.:/@+-`, 64 at most."""
    return _VALUE.fullmatch(text) is not None


def labels_from(pairs: Mapping[str, str]) -> Labels:
    """Return the labels of valid keys and values."""
    return tuple(f"{key}={pairs[key]}" for key in sorted(pairs))


def labels_to_dict(labels: Iterable[str]) -> dict[str, str]:
    """Return labels as values by key, in their order."""
    pairs = (label.partition("=") for label in labels)
    return {key: value for key, _, value in pairs}


def merge_labels(first: Labels, second: Labels) -> Labels:
    """Return both; where they have the same key, the value of `second`."""
    if not first or not second:
        return first or second
    return labels_from(labels_to_dict(first) | labels_to_dict(second))
