"""What a store is asked to make true in one atomic step. Values only."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from core.deliveries import Delivery
from core.jobs import Job, JobRecord, TimelineEntry
from core.limits import Quota
from core.money import MicroUsd
from core.reuse import CacheOption, CacheUse, Reuse
from core.tenants import Credential

RETENTION = timedelta(days=7)
"""How long a finished job is kept: RunComfy's own time for outputs. It covers the last callback
attempt (84.7 hours after the end, with jitter and `Retry-After` at most 4.5 days) and a day."""


class Outcome(StrEnum):
    """What became of a change."""

    STORED = "stored"
    STALE = "stale"
    """Somebody else changed the record first; nothing was written."""
    NO_SLOT = "no_slot"
    """It may not be submitted before a slot is free."""
    WANTED = "wanted"
    """Others follow its running work, which must be handed on to one of them."""
    HEIR_STALE = "heir_stale"
    """Somebody else changed the heir's record first; nothing was written."""
    LED = "led"
    """Another took the lead before; the job follows that one now."""
    SETUP_CHANGED = "setup_changed"
    """The tenant's endpoints are others than its callbacks were made for; nothing was written."""
    OVER_BUDGET = "over_budget"
    """The tenant's money does not cover the job now; nothing was written."""
    UNKNOWN = "unknown"
    """There is no such record any more."""


@dataclass(frozen=True, slots=True)
class ReuseRequest:
    """Whether a job may share a result with identical ones.

    `asked` by the submit itself; `usual` where neither it nor its tenant says anything.
    """

    asked: CacheOption | None = None
    usual: CacheUse = CacheUse()  # noqa: RUF009 - frozen


NO_REUSE = ReuseRequest(asked=CacheOption.OFF)


@dataclass(frozen=True, slots=True)
class Admission:
    """A job to be taken in, if the credential may submit.

    `input` is RunComfy's body, byte for byte. `idempotency` is the digest of the caller's key. With
    `dry_run` everything is decided and nothing is stored.
    """

    credential: Credential
    job: Job
    input: bytes
    entry: TimelineEntry
    reuse: ReuseRequest = NO_REUSE
    idempotency: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """The store has the job. `quotas` are the tenant's limits as they stand now."""

    running: bool
    """It has a slot already; else it waits for its turn."""
    reserved: MicroUsd
    quotas: tuple[Quota, ...] = ()
    reuse: Reuse = Reuse.OFF
    record: JobRecord | None = None
    """The job as the store has it, where that is not as it came: a hit, a joiner, a replay."""


@dataclass(frozen=True, slots=True)
class Heir:
    """A follower that goes on with the work of the job that ends in the same step."""

    before: Job
    after: Job
    entry: TimelineEntry


@dataclass(frozen=True, slots=True)
class Change:
    """One step of one job: stored only if the record still is `before`.

    With it go its timeline, its callbacks and, with `ring`, a message that wakes a worker at once.
    """

    before: Job
    after: Job
    entries: tuple[TimelineEntry, ...] = ()
    output: bytes | None = None
    deliveries: tuple[Delivery, ...] = ()
    setup_mark: str | None = None
    """What the endpoints are known by that `deliveries` were made for, or none were needed for:
    refused where others are in force by then. None: no endpoint is concerned."""
    ring: bool = False
    heir: Heir | None = None
    instead_of: str | None = None
    """Of a follower that is promoted: the job whose end is the reason. Who follows another by then
    is not promoted."""
