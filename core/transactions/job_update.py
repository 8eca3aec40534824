"""The atomic write of a job, and its results. Values only."""

from dataclasses import dataclass
from enum import StrEnum

from core.jobs.job import Job, Trigger
from core.jobs.timeline import TimelineEntry
from core.webhooks.delivery import Delivery


class WriteResult(StrEnum):
    """The store's answer to a job write. Whatever is not `STORED` has written nothing."""

    STORED = "stored"
    CONFLICT = "conflict"
    """The record is no longer `Change.before`."""
    NO_SLOT = "no_slot"
    """The job may not be submitted before a slot is free."""
    HAS_FOLLOWERS = "has_followers"
    """Others follow the running work: it must be handed over to one of them."""
    SUCCESSOR_CONFLICT = "successor_conflict"
    """The successor's record is no longer `Successor.before`."""
    OTHER_LEADER = "other_leader"
    """Another follower was promoted first; the job follows that one now."""
    UPSTREAM_ID_TAKEN = "upstream_id_taken"
    """RunComfy's request belongs to another job, or did."""
    WEBHOOK_CONFIG_CHANGED = "webhook_config_changed"
    """The tenant's endpoints are no longer those for which the deliveries were made."""
    OVER_BUDGET = "over_budget"
    """The tenant's budget does not cover the job now."""
    NOT_FOUND = "not_found"
    """The record has been deleted or has expired."""


@dataclass(frozen=True, slots=True)
class Successor:
    """A follower that takes over the work of the job that ends in the same write."""

    before: Job
    after: Job
    entry: TimelineEntry


@dataclass(frozen=True, slots=True)
class Change:
    """One atomic write of one job: the new record and everything that must appear with it.

    The store refuses it unless the record still is `before` (optimistic concurrency).
    """

    before: Job
    after: Job
    entry: TimelineEntry | None = None
    """The line that the write adds to the job's timeline."""
    trigger: Trigger | None = None
    """What moved the state machine; None: the job stays in its state. Only observers read it."""
    output: bytes | None = None
    deliveries: tuple[Delivery, ...] = ()
    config_digest: str | None = None
    """The version of the webhook config for which `deliveries` were made, also when it called for
    none. The store refuses the write if another version is in force, or a delivery could be missed.
    None: the write concerns no endpoint."""
    wake_worker: bool = False
    """Wake a worker immediately; else the job runs when `after.next_run_at` is due."""
    successor: Successor | None = None
    expected_leader: str | None = None
    """For the promotion of a follower: the leader that ended. Refused if the job
    follows another by then: two promotions of one group would be two paid submits."""
    second_upstream_id: str | None = None
    """A further request of RunComfy that turned out to be this job's."""
    if_upstream_id_free: bool = False
    """Refuse the write if RunComfy's request belongs to another job, or did. Not for RunComfy's own
    answer, which is kept in any case."""

    @property
    def taken_upstream_id(self) -> str | None:
        """The request of RunComfy that becomes this job's by the write; None: none does."""
        after = self.after.upstream_id
        return self.second_upstream_id or (None if after == self.before.upstream_id else after)
