"""An update of a job, one atomic write, with its result. Values only."""

from dataclasses import dataclass
from enum import StrEnum

from core.jobs.job import Job
from core.jobs.timeline import TimelineEntry
from core.webhooks.delivery import Delivery


class WriteResult(StrEnum):
    """The result of a change."""

    STORED = "stored"
    CONFLICT = "conflict"
    """Another process changed the record first; nothing was written."""
    NO_SLOT = "no_slot"
    """No slot is free for the submit."""
    HAS_FOLLOWERS = "has_followers"
    """Followers wait for its running work, which must be handed over to one of them."""
    SUCCESSOR_CONFLICT = "successor_conflict"
    """Another process changed the successor's record first; nothing was written."""
    OTHER_LEADER = "other_leader"
    """Another job became the leader first; this one follows it now."""
    WEBHOOK_CONFIG_CHANGED = "webhook_config_changed"
    """The deliveries were made for an older webhook configuration; nothing was written."""
    OVER_BUDGET = "over_budget"
    """The tenant's budget does not cover the job now; nothing was written."""
    NOT_FOUND = "not_found"
    """The record does not exist any more."""


@dataclass(frozen=True, slots=True)
class Successor:
    """A follower that takes over the work of the job that ends in the same write."""

    before: Job
    after: Job
    entry: TimelineEntry


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one job, stored only if the record still is `before`.

    The timeline entries, the webhook deliveries and, with `wake_worker`, the message that wakes a
    worker are part of the same write.
    """

    before: Job
    after: Job
    entries: tuple[TimelineEntry, ...] = ()
    output: bytes | None = None
    deliveries: tuple[Delivery, ...] = ()
    config_digest: str | None = None
    """The version digest of the webhook configuration that `deliveries` were made for. The write is
    refused if it has changed. None: the change concerns no endpoint."""
    wake_worker: bool = False
    successor: Successor | None = None
    expected_leader: str | None = None
    """For the promotion of a follower: the leader that ended. A follower that has another leader by
    then is not promoted."""
