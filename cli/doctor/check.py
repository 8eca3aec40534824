"""One check of `gateway doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """It works, but something can go wrong."""
    FAIL = "fail"
    """The gateway does not work, or can lose or pay twice for a job."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check's result: what was found and, unless it is `ok`, what to do."""

    name: str
    status: Status
    detail: str
    fix: str = ""


def ok(name: str, detail: str) -> Check:
    """Return a passed check."""
    return Check(name, Status.OK, detail)


def warn(name: str, detail: str, fix: str) -> Check:
    """Return a check that found a risk."""
    return Check(name, Status.WARN, detail, fix)


def fail(name: str, detail: str, fix: str) -> Check:
    """Return a failed check."""
    return Check(name, Status.FAIL, detail, fix)
