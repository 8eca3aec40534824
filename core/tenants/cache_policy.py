"""What submits of one input may share: words, a tenant's policy, what is usual. Knows no store."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from core.retention import LEAST_LIFETIME, MOST_LIFETIME


class CacheMode(StrEnum):
    """Whether submits share results where they say nothing themselves."""

    USE = "use"
    OFF = "off"


class CacheOption(StrEnum):
    """What one submit asks for."""

    USE = "use"
    REFRESH = "refresh"
    """Read no stored result; join what is under way; store the new result."""
    OFF = "off"
    """Neither read, nor join, nor be joined, nor store."""


class Reuse(StrEnum):
    """What a submit found of its like: `Gateway-Cache` says it, of a replay another field does."""

    HIT = "hit"
    """A kept result."""
    JOINED = "joined"
    """A paid job under way."""
    MISS = "miss"
    """Nothing: it is paid for, and others may share it."""
    OFF = "off"
    """Nothing was looked for."""
    REPLAYED = "replayed"
    """The same `Idempotency-Key`: the first job again, no new one."""


PAID: Final = frozenset({Reuse.MISS, Reuse.OFF})
"""What is paid for."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Whether results are shared, and for how long from their end."""

    mode: CacheMode = CacheMode.USE
    lifetime: timedelta = MOST_LIFETIME

    def __post_init__(self) -> None:
        """Raises `ValueError` for a lifetime that no result has."""
        _check(self.lifetime)


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What is usual, for every model and for those whose ids fit a pattern (`*`: any text)."""

    default: CacheUse = field(default_factory=CacheUse)
    by_model: tuple[tuple[str, CacheUse], ...] = ()

    def usual_of(self, model_id: str) -> CacheUse:
        """What holds where neither the submit nor its tenant says; of patterns the first counts."""
        fitting = (use for pattern, use in self.by_model if fnmatchcase(model_id, pattern))
        return next(fitting, self.default)


@dataclass(frozen=True, slots=True)
class ReusePolicy:
    """What an operator lets a tenant share; None: as is usual."""

    cache: CacheMode | None = None
    lifetime: timedelta | None = None
    shared: bool = False
    """Its results serve all tenants that are shared too, and theirs serve it."""
    idempotency_required: bool = False
    promote: bool = False
    """When the paid job that others joined fails, one of them is submitted anew."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a lifetime that no result has."""
        if self.lifetime is not None:
            _check(self.lifetime)


def _check(lifetime: timedelta) -> None:
    if not LEAST_LIFETIME <= lifetime <= MOST_LIFETIME:
        raise ValueError("a stored result's lifetime must be from 1 second to 7 days")
