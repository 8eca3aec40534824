"""A job's life: its states, the facts that move it, and the record.

Pure; knows no store and no RunComfy.

The table is the only statement of what may follow what. Redis holds what `Job.after` computed, and
stores it only over the version that was read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from core.errors import IllegalTransition
from core.money import MicroUsd


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    """Ours alone: nothing has left for RunComfy."""
    SUBMITTING = "submitting"
    """The intent to submit is written down; the request may be on its way."""
    IN_DOUBT = "in_doubt"
    """The request left and no usable answer came: money may be gone."""
    RUNNING = "running"
    """RunComfy has it, queued or in progress there."""
    CANCELLING = "cancelling"
    """RunComfy has it and is being asked to cancel it."""
    COLLECTING = "collecting"
    """RunComfy has finished; the result is being fetched."""
    FOLLOWING = "following"
    """An identical request is under way: this one waits for its result, and is not paid for."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Trigger(StrEnum):
    """Something that happened. The table says what it means."""

    CLAIMED = "claimed"
    ACCEPTED = "accepted"
    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    NO_ANSWER = "no_answer"
    RESEND_APPROVED = "resend_approved"
    MARKED_LOST = "given_up"
    STILL_RUNNING = "still_running"
    FINISHED = "finished"
    RUN_FAILED = "broke"
    CANCEL_REQUESTED = "cancel_asked"
    CANCEL_DONE = "cancel_done"
    NOT_CANCELLABLE = "not_cancellable"
    COLLECTED = "collected"
    RETRY_COLLECT = "retry_collect"
    COLLECT_FAILED = "gave_up"
    DEADLINE_EXCEEDED = "out_of_time"
    LEADER_SUCCEEDED = "shared"
    LEADER_FAILED = "leader_failed"
    PROMOTED = "promoted"
    TAKEN_OVER = "inherited"
    HANDED_OVER = "handed_on"


_S, _T = JobState, Trigger


TRANSITIONS: Final[Mapping[tuple[JobState, Trigger], JobState]] = {
    (_S.QUEUED, _T.CLAIMED): _S.SUBMITTING,
    (_S.QUEUED, _T.ACCEPTED): _S.RUNNING,
    (_S.QUEUED, _T.CANCEL_REQUESTED): _S.CANCELLED,
    (_S.QUEUED, _T.DEADLINE_EXCEEDED): _S.EXPIRED,
    (_S.SUBMITTING, _T.ACCEPTED): _S.RUNNING,
    (_S.SUBMITTING, _T.NOT_SENT): _S.QUEUED,
    (_S.SUBMITTING, _T.REJECTED): _S.FAILED,
    (_S.SUBMITTING, _T.NO_ANSWER): _S.IN_DOUBT,
    (_S.IN_DOUBT, _T.ACCEPTED): _S.RUNNING,
    (_S.IN_DOUBT, _T.NOT_SENT): _S.QUEUED,
    (_S.IN_DOUBT, _T.REJECTED): _S.FAILED,
    (_S.IN_DOUBT, _T.RESEND_APPROVED): _S.QUEUED,
    (_S.IN_DOUBT, _T.MARKED_LOST): _S.FAILED,
    (_S.IN_DOUBT, _T.DEADLINE_EXCEEDED): _S.FAILED,
    (_S.RUNNING, _T.STILL_RUNNING): _S.RUNNING,
    (_S.RUNNING, _T.FINISHED): _S.COLLECTING,
    (_S.RUNNING, _T.RUN_FAILED): _S.FAILED,
    (_S.RUNNING, _T.CANCEL_REQUESTED): _S.CANCELLING,
    (_S.RUNNING, _T.DEADLINE_EXCEEDED): _S.EXPIRED,
    (_S.RUNNING, _T.HANDED_OVER): _S.CANCELLED,
    (_S.CANCELLING, _T.CANCEL_DONE): _S.CANCELLED,
    (_S.CANCELLING, _T.FINISHED): _S.COLLECTING,
    (_S.CANCELLING, _T.NOT_CANCELLABLE): _S.RUNNING,
    (_S.CANCELLING, _T.RUN_FAILED): _S.FAILED,
    (_S.CANCELLING, _T.DEADLINE_EXCEEDED): _S.EXPIRED,
    (_S.COLLECTING, _T.COLLECTED): _S.SUCCEEDED,
    (_S.COLLECTING, _T.RETRY_COLLECT): _S.COLLECTING,
    (_S.COLLECTING, _T.CANCEL_DONE): _S.CANCELLED,
    (_S.COLLECTING, _T.RUN_FAILED): _S.FAILED,
    (_S.COLLECTING, _T.COLLECT_FAILED): _S.FAILED,
    (_S.FOLLOWING, _T.STILL_RUNNING): _S.FOLLOWING,
    (_S.FOLLOWING, _T.LEADER_SUCCEEDED): _S.SUCCEEDED,
    (_S.FOLLOWING, _T.LEADER_FAILED): _S.FAILED,
    (_S.FOLLOWING, _T.PROMOTED): _S.QUEUED,
    (_S.FOLLOWING, _T.TAKEN_OVER): _S.RUNNING,
    (_S.FOLLOWING, _T.CANCEL_REQUESTED): _S.CANCELLED,
    (_S.FOLLOWING, _T.DEADLINE_EXCEEDED): _S.EXPIRED,
}
"""`(state, fact) -> next state`; an absent pair is illegal.

A worker that lost its lease may still bring an answer: `in_doubt` takes it, whichever it is, and
`queued` (a resend was approved meanwhile) takes an acceptance, which saves the second charge.
A `following` job takes part in another's paid work; when that one's caller goes, it inherits the
work (`handed_on` is the other side of it), and when it ends without a result, it may be promoted.
"""


FINAL_STATES: Final = frozenset(JobState) - {state for state, _ in TRANSITIONS}


OPEN_STATES: Final = tuple(sorted(frozenset(JobState) - FINAL_STATES))


class PublicStatus(StrEnum):
    """The words that a caller sees; RunComfy's own, and `failed`."""

    IN_QUEUE = "in_queue"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


PUBLIC_STATUS: Final[Mapping[JobState, PublicStatus]] = {
    _S.QUEUED: PublicStatus.IN_QUEUE,
    _S.SUBMITTING: PublicStatus.IN_QUEUE,
    _S.IN_DOUBT: PublicStatus.IN_QUEUE,
    _S.RUNNING: PublicStatus.IN_PROGRESS,
    _S.CANCELLING: PublicStatus.IN_PROGRESS,
    _S.COLLECTING: PublicStatus.IN_PROGRESS,
    _S.FOLLOWING: PublicStatus.IN_PROGRESS,
    _S.SUCCEEDED: PublicStatus.COMPLETED,
    _S.FAILED: PublicStatus.FAILED,
    _S.CANCELLED: PublicStatus.CANCELLED,
    _S.EXPIRED: PublicStatus.FAILED,
}
"""Per state; a job that RunComfy itself still has queued reads `in_queue` (see `Job.status`)."""


class BillingStatus(StrEnum):
    """Whether RunComfy charged for the job."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class CancelOutcome(StrEnum):
    """What became of a cancel; the contract's three words."""

    REQUESTED = "requested"
    CANCELLED = "cancelled"
    NOT_CANCELLABLE = "not_cancellable"


class FollowUp(StrEnum):
    """What is still to be done for a job that has ended."""

    READ_COST = "read_cost"
    """RunComfy had not yet said what it cost."""
    AWAIT_LATE_RESULT = "await_late_result"
    """It ended with us while RunComfy may still finish it: what was paid for is kept."""
    NOTIFY = "notify"
    """It was finished when it came: its callbacks are still to be written."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a stable word, a sentence, and RunComfy's own code where it sent one."""

    code: str
    message: str
    upstream_code: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The record.

    Instants are aware UTC; `version` counts its changes; `due_at` is when somebody must look at it
    next (while a worker holds it: when that worker's lease runs out).
    """

    id: str
    tenant: str
    model_id: str
    fingerprint: str
    created_at: datetime
    updated_at: datetime
    state: JobState = JobState.QUEUED
    version: int = 1
    next_run_at: datetime | None = None
    start_deadline: datetime | None = None
    deadline: datetime | None = None
    reference: str | None = None
    webhook: str | None = None
    webhook_intermediate: bool = False
    trace: str | None = None
    estimate: MicroUsd | None = None
    priority: int = 1
    """Among its tenant's waiting jobs; lower goes first (`core.tenants.limits.Priority`)."""

    attempts: int = 0
    """Submits that may have left."""
    send_failures: int = 0
    """Submits in a row that surely did not leave."""
    resends_approved: int = 0
    lease_holder: str | None = None
    """The worker that claimed it last: a record is mine only if it says so."""
    sent_at: datetime | None = None
    in_doubt_since: datetime | None = None
    upstream_id: str | None = None
    upstream_status: str | None = None
    upstream_running: bool = False
    queue_position: int | None = None
    running_since: datetime | None = None
    upstream_error_since: datetime | None = None
    """Since when RunComfy gives no usable answer about this job."""
    upstream_error: str | None = None
    read_attempts: int = 0
    """Reads in a row without a usable answer, or errands done."""

    cancel_requested_at: datetime | None = None
    cancel_outcome: CancelOutcome | None = None
    finished_at: datetime | None = None
    upstream_finished_at: datetime | None = None
    error: JobError | None = None
    billed: BillingStatus = BillingStatus.NO
    cost: MicroUsd | None = None
    cost_source: str | None = None
    late: bool = False
    follow_up: FollowUp | None = None
    leader: str | None = None
    """The job whose paid work serves this one: it follows that job, or has its result."""
    cost_saved: MicroUsd | None = None
    """What the result would have cost had it been paid for again."""
    batch: str | None = None
    """The batch that it came with."""

    @property
    def is_final(self) -> bool:
        """Whether no fact can move it any more."""
        return self.state in FINAL_STATES

    @property
    def status(self) -> PublicStatus:
        """The word that a caller sees."""
        if self.state in _UPSTREAM_STATES and not self.upstream_running:
            return PublicStatus.IN_QUEUE
        return PUBLIC_STATUS[self.state]

    @property
    def status_override(self) -> PublicStatus | None:
        """The same word where the state alone would say another; what a timeline's entry needs."""
        return None if self.status is PUBLIC_STATUS[self.state] else self.status

    def transition(self, trigger: Trigger, now: datetime, **changes: Any) -> Self:  # noqa: ANN401 - fields of the record
        """The next record. Raises `IllegalTransition` for a pair that the table does not have."""
        state = TRANSITIONS.get((self.state, trigger))
        if state is None:
            raise IllegalTransition(f"{self.state} has no {trigger}")
        if self.cancel_outcome is CancelOutcome.REQUESTED and state in FINAL_STATES:
            changes = {"cancel_outcome": _CANCEL_OUTCOMES.get(state, _TOO_LATE)} | changes
        return self.evolve(now, state=state, **changes)

    def accept(self, upstream_id: str, now: datetime, next_run_at: datetime) -> Self:
        """RunComfy has it under this id, as its answer says, or a person; look again at `due_at`.

        Raises `IllegalTransition`.
        """
        return self.transition(
            Trigger.ACCEPTED,
            now,
            upstream_id=upstream_id,
            running_since=now,
            in_doubt_since=None,
            send_failures=0,
            read_attempts=0,
            billed=BillingStatus.UNKNOWN,
            next_run_at=next_run_at,
        )

    def evolve(self, now: datetime, **changes: Any) -> Self:  # noqa: ANN401 - fields of the record
        """The same job with some fields changed: one version on."""
        return replace(self, version=self.version + 1, updated_at=now, **changes)

    def can(self, trigger: Trigger) -> bool:
        """Whether the table has a row for `fact` in the present state."""
        return (self.state, trigger) in TRANSITIONS


_TOO_LATE: Final = CancelOutcome.NOT_CANCELLABLE


_CANCEL_OUTCOMES: Final = {_S.CANCELLED: CancelOutcome.CANCELLED}
"""What an open cancel comes to when the job ends; any other end was quicker than it."""


_UPSTREAM_STATES: Final = frozenset({_S.RUNNING, _S.CANCELLING, _S.FOLLOWING})


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the store holds it: the record, and what is kept beside it."""

    job: Job
    polls: int = 0
    output: bytes | None = None
    """RunComfy's output object as JSON; absent before the end."""
