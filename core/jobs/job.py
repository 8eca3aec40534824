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


class Fact(StrEnum):
    """Something that happened. The table says what it means."""

    CLAIMED = "claimed"
    ACCEPTED = "accepted"
    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    NO_ANSWER = "no_answer"
    RESEND_APPROVED = "resend_approved"
    GIVEN_UP = "given_up"
    STILL_RUNNING = "still_running"
    FINISHED = "finished"
    BROKE = "broke"
    CANCEL_ASKED = "cancel_asked"
    CANCEL_DONE = "cancel_done"
    NOT_CANCELLABLE = "not_cancellable"
    COLLECTED = "collected"
    RETRY_COLLECT = "retry_collect"
    GAVE_UP = "gave_up"
    OUT_OF_TIME = "out_of_time"
    SHARED = "shared"
    LEADER_FAILED = "leader_failed"
    PROMOTED = "promoted"
    INHERITED = "inherited"
    HANDED_ON = "handed_on"


_S, _F = JobState, Fact


TRANSITIONS: Final[Mapping[tuple[JobState, Fact], JobState]] = {
    (_S.QUEUED, _F.CLAIMED): _S.SUBMITTING,
    (_S.QUEUED, _F.ACCEPTED): _S.RUNNING,
    (_S.QUEUED, _F.CANCEL_ASKED): _S.CANCELLED,
    (_S.QUEUED, _F.OUT_OF_TIME): _S.EXPIRED,
    (_S.SUBMITTING, _F.ACCEPTED): _S.RUNNING,
    (_S.SUBMITTING, _F.NOT_SENT): _S.QUEUED,
    (_S.SUBMITTING, _F.REJECTED): _S.FAILED,
    (_S.SUBMITTING, _F.NO_ANSWER): _S.IN_DOUBT,
    (_S.IN_DOUBT, _F.ACCEPTED): _S.RUNNING,
    (_S.IN_DOUBT, _F.NOT_SENT): _S.QUEUED,
    (_S.IN_DOUBT, _F.REJECTED): _S.FAILED,
    (_S.IN_DOUBT, _F.RESEND_APPROVED): _S.QUEUED,
    (_S.IN_DOUBT, _F.GIVEN_UP): _S.FAILED,
    (_S.IN_DOUBT, _F.OUT_OF_TIME): _S.FAILED,
    (_S.RUNNING, _F.STILL_RUNNING): _S.RUNNING,
    (_S.RUNNING, _F.FINISHED): _S.COLLECTING,
    (_S.RUNNING, _F.BROKE): _S.FAILED,
    (_S.RUNNING, _F.CANCEL_ASKED): _S.CANCELLING,
    (_S.RUNNING, _F.OUT_OF_TIME): _S.EXPIRED,
    (_S.RUNNING, _F.HANDED_ON): _S.CANCELLED,
    (_S.CANCELLING, _F.CANCEL_DONE): _S.CANCELLED,
    (_S.CANCELLING, _F.FINISHED): _S.COLLECTING,
    (_S.CANCELLING, _F.NOT_CANCELLABLE): _S.RUNNING,
    (_S.CANCELLING, _F.BROKE): _S.FAILED,
    (_S.CANCELLING, _F.OUT_OF_TIME): _S.EXPIRED,
    (_S.COLLECTING, _F.COLLECTED): _S.SUCCEEDED,
    (_S.COLLECTING, _F.RETRY_COLLECT): _S.COLLECTING,
    (_S.COLLECTING, _F.CANCEL_DONE): _S.CANCELLED,
    (_S.COLLECTING, _F.BROKE): _S.FAILED,
    (_S.COLLECTING, _F.GAVE_UP): _S.FAILED,
    (_S.FOLLOWING, _F.STILL_RUNNING): _S.FOLLOWING,
    (_S.FOLLOWING, _F.SHARED): _S.SUCCEEDED,
    (_S.FOLLOWING, _F.LEADER_FAILED): _S.FAILED,
    (_S.FOLLOWING, _F.PROMOTED): _S.QUEUED,
    (_S.FOLLOWING, _F.INHERITED): _S.RUNNING,
    (_S.FOLLOWING, _F.CANCEL_ASKED): _S.CANCELLED,
    (_S.FOLLOWING, _F.OUT_OF_TIME): _S.EXPIRED,
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


class Billed(StrEnum):
    """Whether RunComfy charged for the job."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class CancelOutcome(StrEnum):
    """What became of a cancel; the contract's three words."""

    REQUESTED = "requested"
    CANCELLED = "cancelled"
    NOT_CANCELLABLE = "not_cancellable"


class Errand(StrEnum):
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
    due_at: datetime | None = None
    start_by: datetime | None = None
    finish_by: datetime | None = None
    reference: str | None = None
    webhook: str | None = None
    webhook_intermediate: bool = False
    trace: str | None = None
    estimate: MicroUsd | None = None
    priority: int = 1
    """Among its tenant's waiting jobs; lower goes first (`core.tenants.limits.Priority`)."""

    attempts: int = 0
    """Submits that may have left."""
    refused_sends: int = 0
    """Submits in a row that surely did not leave."""
    resends_approved: int = 0
    holder: str | None = None
    """The worker that claimed it last: a record is mine only if it says so."""
    sent_at: datetime | None = None
    doubt_since: datetime | None = None
    upstream_id: str | None = None
    upstream_word: str | None = None
    upstream_running: bool = False
    queue_position: int | None = None
    running_since: datetime | None = None
    trouble_since: datetime | None = None
    """Since when RunComfy gives no usable answer about this job."""
    trouble: str | None = None
    tries: int = 0
    """Reads in a row without a usable answer, or errands done."""

    cancel_asked_at: datetime | None = None
    cancel_outcome: CancelOutcome | None = None
    finished_at: datetime | None = None
    upstream_finished_at: datetime | None = None
    error: JobError | None = None
    billed: Billed = Billed.NO
    cost: MicroUsd | None = None
    cost_source: str | None = None
    late: bool = False
    errand: Errand | None = None
    leader: str | None = None
    """The job whose paid work serves this one: it follows that job, or has its result."""
    saved: MicroUsd | None = None
    """What the result would have cost had it been paid for again."""
    batch: str | None = None
    """The batch that it came with."""

    @property
    def final(self) -> bool:
        """Whether no fact can move it any more."""
        return self.state in FINAL_STATES

    @property
    def status(self) -> PublicStatus:
        """The word that a caller sees."""
        if self.state in _UPSTREAM_STATES and not self.upstream_running:
            return PublicStatus.IN_QUEUE
        return PUBLIC_STATUS[self.state]

    @property
    def unspoken(self) -> PublicStatus | None:
        """The same word where the state alone would say another; what a timeline's entry needs."""
        return None if self.status is PUBLIC_STATUS[self.state] else self.status

    def after(self, fact: Fact, now: datetime, **changes: Any) -> Self:  # noqa: ANN401 - fields of the record
        """The next record. Raises `IllegalTransition` for a pair that the table does not have."""
        state = TRANSITIONS.get((self.state, fact))
        if state is None:
            raise IllegalTransition(f"{self.state} has no {fact}")
        if self.cancel_outcome is CancelOutcome.REQUESTED and state in FINAL_STATES:
            changes = {"cancel_outcome": _OUTCOME_AT_END.get(state, _TOO_LATE)} | changes
        return self.noted(now, state=state, **changes)

    def accepted(self, upstream_id: str, now: datetime, due_at: datetime) -> Self:
        """RunComfy has it under this id, as its answer says, or a person; look again at `due_at`.

        Raises `IllegalTransition`.
        """
        return self.after(
            Fact.ACCEPTED,
            now,
            upstream_id=upstream_id,
            running_since=now,
            doubt_since=None,
            refused_sends=0,
            tries=0,
            billed=Billed.UNKNOWN,
            due_at=due_at,
        )

    def noted(self, now: datetime, **changes: Any) -> Self:  # noqa: ANN401 - fields of the record
        """The same job with some fields changed: one version on."""
        return replace(self, version=self.version + 1, updated_at=now, **changes)

    def allows(self, fact: Fact) -> bool:
        """Whether the table has a row for `fact` in the present state."""
        return (self.state, fact) in TRANSITIONS


_TOO_LATE: Final = CancelOutcome.NOT_CANCELLABLE


_OUTCOME_AT_END: Final = {_S.CANCELLED: CancelOutcome.CANCELLED}
"""What an open cancel comes to when the job ends; any other end was quicker than it."""


_UPSTREAM_STATES: Final = frozenset({_S.RUNNING, _S.CANCELLING, _S.FOLLOWING})


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the store holds it: the record, and what is kept beside it."""

    job: Job
    polls: int = 0
    output: bytes | None = None
    """RunComfy's output object as JSON; absent before the end."""
