"""What a store is asked to make true in one atomic step. Values only."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from core.deliveries import Delivery
from core.jobs import Job, TimelineEntry
from core.limits import Quota
from core.money import MicroUsd
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
    UNKNOWN = "unknown"
    """There is no such record any more."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A job to be taken in, if the credential may submit.

    `input` is RunComfy's body, byte for byte.
    """

    credential: Credential
    job: Job
    input: bytes
    entry: TimelineEntry


@dataclass(frozen=True, slots=True)
class Admitted:
    """The store has the job. `quotas` are the tenant's limits as they stand now."""

    running: bool
    """It has a slot already; else it waits for its turn."""
    reserved: MicroUsd
    quotas: tuple[Quota, ...] = ()


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
    ring: bool = False
