"""For which job the present task works: for the lines that are logged while it does.

A context variable, so that calls far below need not carry ids they have no use for. Nothing is
decided by it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Trail:
    """Whose work it is; `trace` as W3C writes it, where the caller sent one."""

    job_id: str
    tenant: str
    trace: str | None


_PRESENT: Final[ContextVar[Trail | None]] = ContextVar("trail", default=None)


def present() -> Trail | None:
    """The trail that this task follows."""
    return _PRESENT.get()


@contextmanager
def follow(trail: Trail) -> Iterator[None]:
    """Whatever this task does inside is done for `trail`."""
    token = _PRESENT.set(trail)
    try:
        yield
    finally:
        _PRESENT.reset(token)
