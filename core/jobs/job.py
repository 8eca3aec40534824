"""A job: its states, the triggers of its transitions, and the record. Pure.

`TRANSITIONS` is the only definition of which state may follow which. Redis stores a record that
`Job.transition` computed, and only over the version that was read.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, Self

from core.archive import ArchivedOutput, ArchiveMode, deleted_at
from core.errors import IllegalTransition
from core.jobs.input_parts import InputPart
from core.labels import Labels
from core.money import MicroUsd
from core.runtime.statically_frozen import statically_frozen


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    """In the gateway only: nothing was sent to RunComfy."""
    SUBMITTING = "submitting"
    """The intent to submit is stored; the request may have been sent."""
    IN_DOUBT = "in_doubt"
    """The request was sent and got no usable answer: it may have been charged."""
    RUNNING = "running"
    """RunComfy has it, queued or in progress there."""
    CANCELLING = "cancelling"
    """RunComfy has it; a cancel is being sent."""
    COLLECTING = "collecting"
    """RunComfy has finished; the result is being fetched."""
    ARCHIVING = "archiving"
    """RunComfy has finished and the output is stored; the files that it names are being kept."""
    FOLLOWING = "following"
    """An identical job is in flight: this one waits for its result, and is not paid for."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Trigger(StrEnum):
    """An event that moves a job, by `TRANSITIONS`."""

    CLAIMED = "claimed"
    ACCEPTED = "accepted"
    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    NO_ANSWER = "no_answer"
    INPUT_FAILED = "input_failed"
    REPEATED = "repeated"
    RESEND_APPROVED = "resend_approved"
    MARKED_LOST = "marked_lost"
    STILL_RUNNING = "still_running"
    FINISHED = "finished"
    RUN_FAILED = "run_failed"
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_DONE = "cancel_done"
    NOT_CANCELLABLE = "not_cancellable"
    OUTPUT_STORED = "output_stored"
    ARCHIVED = "archived"
    COLLECTED = "collected"
    RETRY_COLLECT = "retry_collect"
    COLLECT_FAILED = "collect_failed"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    STEP_FAILED = "step_failed"
    LEADER_SUCCEEDED = "leader_succeeded"
    LEADER_FAILED = "leader_failed"
    PROMOTED = "promoted"
    TAKEN_OVER = "taken_over"
    HANDED_OVER = "handed_over"
    DETACHED = "detached"


_S, _T = JobState, Trigger

TRANSITIONS: Final[Mapping[tuple[JobState, Trigger], JobState]] = {
    (_S.QUEUED, _T.CLAIMED): _S.SUBMITTING,
    (_S.QUEUED, _T.ACCEPTED): _S.RUNNING,
    (_S.QUEUED, _T.NO_ANSWER): _S.IN_DOUBT,
    (_S.QUEUED, _T.INPUT_FAILED): _S.FAILED,
    (_S.QUEUED, _T.REPEATED): _S.FAILED,
    (_S.QUEUED, _T.CANCEL_REQUESTED): _S.CANCELLED,
    (_S.QUEUED, _T.DEADLINE_EXCEEDED): _S.EXPIRED,
    (_S.QUEUED, _T.STEP_FAILED): _S.FAILED,
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
    (_S.IN_DOUBT, _T.STEP_FAILED): _S.FAILED,
    (_S.RUNNING, _T.STILL_RUNNING): _S.RUNNING,
    (_S.RUNNING, _T.FINISHED): _S.COLLECTING,
    (_S.RUNNING, _T.RUN_FAILED): _S.FAILED,
    (_S.RUNNING, _T.CANCEL_REQUESTED): _S.CANCELLING,
    (_S.RUNNING, _T.DEADLINE_EXCEEDED): _S.EXPIRED,
    (_S.RUNNING, _T.STEP_FAILED): _S.FAILED,
    (_S.RUNNING, _T.HANDED_OVER): _S.CANCELLED,
    (_S.RUNNING, _T.DETACHED): _S.IN_DOUBT,
    (_S.CANCELLING, _T.CANCEL_DONE): _S.CANCELLED,
    (_S.CANCELLING, _T.FINISHED): _S.COLLECTING,
    (_S.CANCELLING, _T.NOT_CANCELLABLE): _S.RUNNING,
    (_S.CANCELLING, _T.RUN_FAILED): _S.FAILED,
    (_S.CANCELLING, _T.DEADLINE_EXCEEDED): _S.EXPIRED,
    (_S.CANCELLING, _T.STEP_FAILED): _S.FAILED,
    (_S.COLLECTING, _T.COLLECTED): _S.SUCCEEDED,
    (_S.COLLECTING, _T.OUTPUT_STORED): _S.ARCHIVING,
    (_S.COLLECTING, _T.RETRY_COLLECT): _S.COLLECTING,
    (_S.COLLECTING, _T.CANCEL_DONE): _S.CANCELLED,
    (_S.COLLECTING, _T.RUN_FAILED): _S.FAILED,
    (_S.COLLECTING, _T.COLLECT_FAILED): _S.FAILED,
    (_S.COLLECTING, _T.STEP_FAILED): _S.FAILED,
    (_S.ARCHIVING, _T.ARCHIVED): _S.SUCCEEDED,
    (_S.ARCHIVING, _T.DEADLINE_EXCEEDED): _S.SUCCEEDED,
    (_S.FOLLOWING, _T.STILL_RUNNING): _S.FOLLOWING,
    (_S.FOLLOWING, _T.LEADER_SUCCEEDED): _S.SUCCEEDED,
    (_S.FOLLOWING, _T.REPEATED): _S.FAILED,
    (_S.FOLLOWING, _T.LEADER_FAILED): _S.FAILED,
    (_S.FOLLOWING, _T.PROMOTED): _S.QUEUED,
    (_S.FOLLOWING, _T.TAKEN_OVER): _S.RUNNING,
    (_S.FOLLOWING, _T.CANCEL_REQUESTED): _S.CANCELLED,
    (_S.FOLLOWING, _T.DEADLINE_EXCEEDED): _S.EXPIRED,
    (_S.FOLLOWING, _T.STEP_FAILED): _S.FAILED,
}
"""`(state, trigger) -> next state`; an absent pair is illegal.

A worker that lost its lease may still deliver the answer to a submit. `in_doubt` accepts every
such answer. `queued` (a resend was approved meanwhile) accepts an acceptance, which avoids the
second charge; `no_answer` is what the journal knows of a submit that the store has forgotten.

A `following` job shares the paid work of a leader. If the leader is cancelled or times out, a
follower takes over its work (`taken_over`; the leader's trigger is `handed_over`). If the leader
ends without a result, a follower may be promoted and submits again.
"""

FINAL_STATES: Final = frozenset(JobState) - {state for state, _ in TRANSITIONS}

OPEN_STATES: Final = tuple(sorted(frozenset(JobState) - FINAL_STATES))


class PublicStatus(StrEnum):
    """The statuses of this gateway's own calls; RunComfy's calls have them as `gateway_status`."""

    IN_QUEUE = "in_queue"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


PUBLIC_STATUS: Final[Mapping[JobState, PublicStatus]] = {
    _S.QUEUED: PublicStatus.IN_QUEUE,
    _S.SUBMITTING: PublicStatus.IN_QUEUE,
    # Not failed yet: an operator may attach it or approve a resend, so callers continue to poll.
    _S.IN_DOUBT: PublicStatus.IN_QUEUE,
    _S.RUNNING: PublicStatus.IN_PROGRESS,
    _S.CANCELLING: PublicStatus.IN_PROGRESS,
    _S.COLLECTING: PublicStatus.IN_PROGRESS,
    _S.ARCHIVING: PublicStatus.IN_PROGRESS,
    _S.FOLLOWING: PublicStatus.IN_PROGRESS,
    _S.SUCCEEDED: PublicStatus.COMPLETED,
    _S.FAILED: PublicStatus.FAILED,
    _S.CANCELLED: PublicStatus.CANCELLED,
    _S.EXPIRED: PublicStatus.FAILED,
}
"""By state; a job that is queued at RunComfy is `in_queue` all the same (see `Job.status`)."""


class BillingStatus(StrEnum):
    """Whether RunComfy charged for the job."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class CancelOutcome(StrEnum):
    """What became of a cancel; the three values of the callers' API."""

    REQUESTED = "requested"
    CANCELLED = "cancelled"
    NOT_CANCELLABLE = "not_cancellable"


class FollowUp(StrEnum):
    """A task that remains after a job has ended."""

    READ_COST = "read_cost"
    """RunComfy had not reported the cost yet."""
    AWAIT_LATE_RESULT = "await_late_result"
    """The job ended here while RunComfy may still finish it: a result that was paid for is kept."""
    NOTIFY = "notify"
    """It was admitted with a cached result: its webhook deliveries are still to be created."""


class WaitingFor(StrEnum):
    """What a queued job waits for, other than its turn. It has no slot meanwhile."""

    BALANCE = "balance"
    """RunComfy refused its price: the account must be topped up."""
    ACCOUNT = "account"
    """RunComfy refuses the account."""
    MODEL = "model"
    """RunComfy answers no submit of its model, or requested a pause."""
    RUNCOMFY = "runcomfy"
    """RunComfy answers no submit at all, or requested a pause."""
    SOURCE = "source"
    """A private source of its input cannot be read."""
    NOT_BEFORE = "not_before"
    """Its caller named a time before which it is not submitted."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a stable code, a sentence, and RunComfy's own code if it sent one."""

    code: str
    message: str
    upstream_code: str | None = None


@statically_frozen
class Job:
    """The record. It is frozen.

    Instants are timezone-aware, in UTC. `version` counts the changes. `next_run_at` is when a
    worker must process the job next; while a worker holds it, when that worker's lease expires.
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
    model_alias: str | None = None
    """The alias by which the caller named the model."""
    reference: str | None = None
    labels: Labels = ()
    key_id: str | None = None
    """The API key that submitted it, by its id."""
    not_before: datetime | None = None
    """The earliest time of its submit to RunComfy. Its deadlines count from then."""
    webhook: str | None = None
    webhook_intermediate: bool = False
    trace: str | None = None
    estimate: MicroUsd | None = None
    priority: int = 1
    """Order among the tenant's waiting jobs; lower is first (`core.tenants.limits.Priority`)."""

    accounting_day: date | None = None
    """The day of its tenant's calendar in which it counts; None: that of `created_at` in UTC."""
    video_ms: int | None = None
    """The length of the videos that its input requests; None if that is not known."""

    waiting_for: WaitingFor | None = None
    attempts: int = 0
    """Submits that may have been sent."""
    send_failures: int = 0
    """Submits in a row that were certainly not sent."""
    resends_approved: int = 0
    lease_holder: str | None = None
    """The worker that claimed it last; another worker must not write the record."""
    sent_at: datetime | None = None
    in_doubt_since: datetime | None = None
    upstream_id: str | None = None
    attach_id: str | None = None
    """RunComfy's id that an operator named: the job continues with it once RunComfy knows it."""
    is_attached: bool = False
    """Whether `upstream_id` was named by an operator."""
    is_handed_over: bool = False
    """Whether the run of `upstream_id` is now that of the follower that took it over."""
    upstream_status: str | None = None
    """RunComfy's last word on its status call."""
    upstream_result_status: str | None = None
    """RunComfy's word on its result call, at the end."""
    upstream_running: bool = False
    queue_position: int | None = None
    running_since: datetime | None = None
    upstream_error_since: datetime | None = None
    """Since when RunComfy returns no usable answer about this job."""
    upstream_error: str | None = None
    read_attempts: int = 0
    """Reads in a row without a usable answer, or attempts of the follow-up."""
    step_failures: int = 0
    """Steps in this state that raised an exception."""

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
    """The job that pays for this one's result: this one follows it, or has its result."""
    cost_saved: MicroUsd | None = None
    """What the result would have cost if it had been paid for again."""
    batch: str | None = None
    """The batch that it was submitted with."""
    input_parts: tuple[InputPart, ...] = ()
    """The parts of its input that are files, in order."""
    archive: ArchiveMode = ArchiveMode.OFF
    """When its outputs are kept, as it was decided when the output came."""
    archive_due_at: datetime | None = None
    """When the next attempt to keep its outputs is due; None: nothing is left to do."""
    archive_attempts: int = 0
    """Attempts that did not keep all of them."""
    archived_at: datetime | None = None
    """When everything was kept that could be."""
    outputs: tuple[ArchivedOutput, ...] = ()
    """Its outputs, once one of them was kept or an attempt failed."""
    kept_until: datetime | None = None
    """Until when the outputs, and with them the record, are kept at least."""
    link_secret: str = field(default="", repr=False)
    """Signs the links to its outputs, in hexadecimal digits."""
    unknown_fields: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    """What another release has stored; see `core.store.unknown_fields`."""
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def ready_at(self) -> datetime:
        """When it could first be submitted: its admission, or its `not_before` if that is later."""
        return max(self.created_at, self.not_before or self.created_at)

    @property
    def usage_day(self) -> date:
        """The day in which its money counts."""
        return self.accounting_day or self.created_at.astimezone(UTC).date()

    @property
    def is_final(self) -> bool:
        """Whether no trigger can move it any more."""
        return self.state in FINAL_STATES

    @property
    def status(self) -> PublicStatus:
        """The status that callers see."""
        if self.state in _UPSTREAM_STATES and not self.upstream_running:
            return PublicStatus.IN_QUEUE
        return PUBLIC_STATUS[self.state]

    @property
    def status_override(self) -> PublicStatus | None:
        """`status` where it differs from the state's own; a timeline entry stores it."""
        status = self.status
        return None if status is PUBLIC_STATUS[self.state] else status

    @property
    def has_kept_all(self) -> bool:
        """Whether all of its outputs are kept, so that another job can share them."""
        return self.archived_at is not None and all(each.file_id for each in self.outputs)

    @property
    def outputs_deleted_at(self) -> datetime:
        """When RunComfy deletes the outputs, as far as is known."""
        return deleted_at(self.upstream_finished_at or self.finished_at or self.updated_at)

    def transition(self, trigger: Trigger, now: datetime, **changes: Any) -> Self:  # noqa: ANN401 - fields of the record
        """Return the next record.

        Raises `IllegalTransition` for a pair that `TRANSITIONS` does not have.
        """
        state = TRANSITIONS.get((self.state, trigger))
        if state is None:
            raise IllegalTransition(f"{self.state} has no {trigger}")
        if self.cancel_outcome is CancelOutcome.REQUESTED and state in FINAL_STATES:
            changes = {"cancel_outcome": _CANCEL_OUTCOMES.get(state, _TOO_LATE)} | changes
        if state is not self.state:
            changes = {"step_failures": 0, "waiting_for": None, "attach_id": None} | changes
        return self.evolve(now, state=state, **changes)

    def accept(self, upstream_id: str, now: datetime, next_run_at: datetime) -> Self:
        """Return the job that RunComfy has under `upstream_id`, first polled at `next_run_at`.

        The id comes from RunComfy's answer or from an operator. Raises `IllegalTransition`.
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
        """Return the job with some fields changed and the next version."""
        return replace(self, version=self.version + 1, updated_at=now, **changes)

    def can(self, trigger: Trigger) -> bool:
        """Return whether `trigger` is legal in the present state."""
        return (self.state, trigger) in TRANSITIONS


_TOO_LATE: Final = CancelOutcome.NOT_CANCELLABLE
_CANCEL_OUTCOMES: Final = {_S.CANCELLED: CancelOutcome.CANCELLED}
"""The outcome of a pending cancel when the job ends; any other end came before the cancel."""

_UPSTREAM_STATES: Final = frozenset({_S.RUNNING, _S.CANCELLING, _S.FOLLOWING})


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job with what the store keeps beside the record."""

    job: Job
    polls: int = 0
    output: bytes | None = None
    """RunComfy's output object as JSON; absent before the end."""
