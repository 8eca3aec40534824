"""Inputs and strategies for fingerprint tests."""

from typing import Any

from core.deduplication.fingerprint import (
    NO_DEFAULTS,
    Defaults,
    fingerprint,
)

Input = dict[str, Any]


DEFAULTS = Defaults(
    values={"duration": 10, "options": {"b": 2}},
    nested={
        "shots": Defaults(items=Defaults({"duration": 5})),
        "options": Defaults({"a": 1}),
    },
)


def same(one: Input, other: Input, defaults: Defaults = NO_DEFAULTS) -> bool:
    return fingerprint("m", one, defaults) == fingerprint("m", other, defaults)
