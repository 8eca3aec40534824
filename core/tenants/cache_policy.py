"""The result cache: options of a submit, a tenant's policy, the default policy. Values only."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from core.retention import MAX_CACHE_LIFETIME, MIN_CACHE_LIFETIME


class CacheMode(StrEnum):
    """Whether submits without a `cache` option use the result cache."""

    USE = "use"
    OFF = "off"


class CacheOption(StrEnum):
    """The `cache` option of a submit."""

    USE = "use"
    REFRESH = "refresh"
    """Read no stored result; join an identical job in flight; store the new result."""
    OFF = "off"
    """Read no result, join no job, let no job join, store no result."""


class CacheStatus(StrEnum):
    """The cache result of a submit: the value of `Gateway-Cache`, except `REPLAYED`."""

    HIT = "hit"
    """A stored result."""
    COLLAPSED = "joined"
    """An identical paid job is in flight."""
    MISS = "miss"
    """Nothing was found: the job is paid for, and others may share it."""
    BYPASS = "off"
    """The cache was not read."""
    REPLAYED = "replayed"
    """The same `Idempotency-Key`: the first job is returned. Reported as `Idempotency-Replayed`."""


PAID_CACHE_STATUSES: Final = frozenset({CacheStatus.MISS, CacheStatus.BYPASS})
"""The results of a submit that is paid for."""


@dataclass(frozen=True, slots=True)
class CacheRule:
    """Whether results are shared, and for how long after the job's end.

    `mode` None: those of inputs that pin the model's seed. Another input that is sent again
    requests another result.
    """

    mode: CacheMode | None = None
    lifetime: timedelta = MAX_CACHE_LIFETIME

    def __post_init__(self) -> None:
        """Raises `ValueError` for a lifetime that no result has."""
        _check_lifetime(self.lifetime)

    def mode_for(self, *, pins_seed: bool) -> CacheMode:
        """Return the mode for one input."""
        return self.mode or (CacheMode.USE if pins_seed else CacheMode.OFF)


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """The default rule, and the rules of models by a pattern of their ids (`*`: any text)."""

    default: CacheRule = field(default_factory=CacheRule)
    by_model: tuple[tuple[str, CacheRule], ...] = ()

    def rule_for(self, model_id: str) -> CacheRule:
        """Return the rule for a model; the first pattern that matches decides.

        It applies if neither the submit nor its tenant has an option.
        """
        matching = (rule for pattern, rule in self.by_model if fnmatchcase(model_id, pattern))
        return next(matching, self.default)


@dataclass(frozen=True, slots=True)
class TenantCachePolicy:
    """A tenant's cache policy; None: the default policy applies."""

    cache: CacheMode | None = None
    lifetime: timedelta | None = None
    shared: bool = False
    """Its results are shared with all tenants that have this set too."""
    idempotency_required: bool = False
    promote: bool = False
    """If a job with followers fails, one follower is submitted again."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a lifetime that no result has."""
        if self.lifetime is not None:
            _check_lifetime(self.lifetime)


def _check_lifetime(lifetime: timedelta) -> None:
    if not MIN_CACHE_LIFETIME <= lifetime <= MAX_CACHE_LIFETIME:
        raise ValueError("a stored result's lifetime must be from 1 second to 7 days")
