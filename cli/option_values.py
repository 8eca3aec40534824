"""Values of options that several groups of commands share."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import typer

from core.clock import Clock

MAX_DAYS: Final = 36_500
"""A hundred years: an end far beyond it is outside Python's calendar."""

ExpiryOption = Annotated[
    float | None,
    typer.Option(
        "--expires-in-days", min=0, max=MAX_DAYS, help="Days until it expires; default: never."
    ),
]
WordT = TypeVar("WordT", bound=StrEnum)


def split_list(text: str) -> Sequence[str]:
    """Return the parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_words(text: str, words: type[WordT], option: str) -> frozenset[WordT]:
    """Return the words of a comma-separated list. Raises `typer.BadParameter` for another one."""
    names = {name.strip() for name in text.split(",")}
    if not names <= set(words):
        raise typer.BadParameter(f"must be some of {', '.join(words)}", param_hint=option)
    return frozenset(map(words, names))


def expiry(clock: Clock, days: float | None) -> datetime | None:
    """Return when what is created now expires; None: never."""
    return None if days is None else clock.now() + timedelta(days=days)
