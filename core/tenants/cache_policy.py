"""What submits of one input may share: words, a tenant's policy, what is usual. Knows no store."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from core.retention import MAX_CACHE_LIFETIME, MIN_CACHE_LIFETIME


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


class CacheStatus(StrEnum):
    """What a submit found of its like: `Gateway-Cache` says it, of a replay another field does."""

    HIT = "hit"
    """A kept result."""
    COLLAPSED = "joined"
    """A paid job under way."""
    MISS = "miss"
    """Nothing: it is paid for, and others may share it."""
    BYPASS = "off"
    """Nothing was looked for."""
    REPLAYED = "replayed"
    """The same `Idempotency-Key`: the first job again, no new one."""


PAID_CACHE_STATUSES: Final = frozenset({CacheStatus.MISS, CacheStatus.BYPASS})
"""What is paid for."""


@dataclass(frozen=True, slots=True)
class CacheRule:
    """Whether results are shared, and for how long from their end."""

    mode: CacheMode = CacheMode.USE
    lifetime: timedelta = MAX_CACHE_LIFETIME

    def __post_init__(self) -> None:
        """Raises `ValueError` for a lifetime that no result has."""
        _check_lifetime(self.lifetime)


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What is usual, for every model and for those whose ids fit a pattern (`*`: any text)."""

    default: CacheRule = field(default_factory=CacheRule)
    by_model: tuple[tuple[str, CacheRule], ...] = ()

    def rule_for(self, model_id: str) -> CacheRule:
        """What holds where neither the submit nor its tenant says; of patterns the first counts."""
        fitting = (use for pattern, use in self.by_model if fnmatchcase(model_id, pattern))
        return next(fitting, self.default)


@dataclass(frozen=True, slots=True)
class TenantCachePolicy:
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
            _check_lifetime(self.lifetime)


def _check_lifetime(lifetime: timedelta) -> None:
    if not MIN_CACHE_LIFETIME <= lifetime <= MAX_CACHE_LIFETIME:
        raise ValueError("a stored result's lifetime must be from 1 second to 7 days")
