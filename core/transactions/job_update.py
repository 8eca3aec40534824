"""What a store is asked to make true in one atomic step. Values only."""

from dataclasses import dataclass
from enum import StrEnum

from core.jobs.job import Job
from core.jobs.timeline import TimelineEntry
from core.webhooks.delivery import Delivery


class WriteResult(StrEnum):
    """What became of a change."""

    STORED = "stored"
    CONFLICT = "conflict"
    """Somebody else changed the record first; nothing was written."""
    NO_SLOT = "no_slot"
    """It may not be submitted before a slot is free."""
    HAS_FOLLOWERS = "has_followers"
    """Others follow its running work, which must be handed on to one of them."""
    SUCCESSOR_CONFLICT = "successor_conflict"
    """Somebody else changed the heir's record first; nothing was written."""
    OTHER_LEADER = "other_leader"
    """Another took the lead before; the job follows that one now."""
    WEBHOOK_CONFIG_CHANGED = "webhook_config_changed"
    """The tenant's endpoints are others than its callbacks were made for; nothing was written."""
    OVER_BUDGET = "over_budget"
    """The tenant's money does not cover the job now; nothing was written."""
    NOT_FOUND = "not_found"
    """There is no such record any more."""


@dataclass(frozen=True, slots=True)
class Successor:
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
    config_digest: str | None = None
    """What the endpoints are known by that `deliveries` were made for, or none were needed for:
    refused where others are in force by then. None: no endpoint is concerned."""
    wake_worker: bool = False
    successor: Successor | None = None
    expected_leader: str | None = None
    """Of a follower that is promoted: the job whose end is the reason. Who follows another by then
    is not promoted."""
