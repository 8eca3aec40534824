"""RunComfy with a ledger: what it accepted and charged is known, whatever its callers learn.

Implements `worker.ports.Upstream` without HTTP. An `UpstreamBehavior` decides each call's outcome.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Final, Protocol

from core.clock import Clock
from core.jobs.job import CancelOutcome
from core.money import MicroUsd
from worker.ports import (
    Accepted,
    CancelAnswer,
    Finished,
    Indeterminate,
    InProgress,
    NotSent,
    RefusalScope,
    Rejected,
    RequestNotFound,
    ResultAnswer,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StatusAnswer,
    SubmitAnswer,
    Unreachable,
    UpstreamFault,
    UpstreamTimes,
)


class SubmitOutcome(StrEnum):
    """The outcome of a submit."""

    ACCEPTED = auto()
    LOST_BEFORE = auto()
    LOST_AFTER = auto()
    NOT_SENT = auto()
    THROTTLED = auto()
    REJECTED = auto()
    REFUSED = auto()


REACHES_UPSTREAM: Final = frozenset({SubmitOutcome.ACCEPTED, SubmitOutcome.LOST_AFTER})


class RequestOutcome(StrEnum):
    """The end of a request, and whether it is charged."""

    COMPLETED = auto()
    FAILED_FREE = auto()
    FAILED_CHARGED = auto()
    NO_OUTPUT = auto()


@dataclass(frozen=True, slots=True)
class SubmitPlan:
    """The course of a submit: when it arrives, when it is answered, and the `Retry-After`."""

    outcome: SubmitOutcome
    arrives_after: timedelta
    answers_after: timedelta
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """The course of an accepted request; spans count from its acceptance. None: never."""

    visible_after: timedelta
    starts_after: timedelta
    ends_after: timedelta
    result_after: timedelta
    cost_after: timedelta | None
    forgotten_after: timedelta | None
    outcome: RequestOutcome
    price: MicroUsd


@dataclass(slots=True)
class LedgerEntry:
    """An accepted submit in the ledger."""

    upstream_id: str
    job_id: str
    at: datetime
    plan: RequestPlan
    cancelled_at: datetime | None = None

    @property
    def charged(self) -> bool:
        """Whether RunComfy charges for it."""
        return self.cancelled_at is None and self.plan.outcome is not RequestOutcome.FAILED_FREE

    @property
    def output(self) -> bytes:
        """The output of the request."""
        return b'{"video":"https://media.test/%s.mp4"}' % self.upstream_id.encode()


class UpstreamBehavior(Protocol):
    """Decides the outcome of each call."""

    def plan_submit(self) -> SubmitPlan:
        """The course of the next submit."""
        ...

    def plan_request(self) -> RequestPlan:
        """The course of the next accepted request."""
        ...

    def read_fault(self) -> Unreachable | None:
        """The fault of the next read; None: it succeeds."""
        ...

    def is_temporarily_missing(self, upstream_id: str) -> bool:
        """Whether the next read answers, once, that this id is unknown."""
        ...

    def latency(self) -> timedelta:
        """The duration of the next read or cancel."""
        ...

    def unknown_status(self) -> str | None:
        """An undocumented word for the next status, if any."""
        ...

    def cancel_answer_lost(self) -> bool:
        """Whether the next cancel's answer is lost."""
        ...


@dataclass(slots=True)
class FakeRunComfy:
    """A RunComfy account with its ledger. The body of a submit is its job's id."""

    clock: Clock
    behavior: UpstreamBehavior
    ledger: list[LedgerEntry] = field(default_factory=list)
    submits: int = 0

    def entries_of_job(self, job_id: str) -> list[LedgerEntry]:
        """The accepted submits of a job."""
        return [entry for entry in self.ledger if entry.job_id == job_id]

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        """See `worker.ports.Upstream`. A submit that has left arrives, even if its caller dies."""
        del model_id
        going, self.submits = self.behavior.plan_submit(), self.submits + 1
        upstream_id = f"up-{self.submits}"
        if going.outcome in REACHES_UPSTREAM:
            loop = asyncio.get_running_loop()
            loop.call_later(
                going.arrives_after.total_seconds(), self._take, upstream_id, body.decode()
            )
        await self.clock.sleep(going.answers_after)
        return _submit_answer(going, upstream_id)

    async def get_status(self, upstream_id: str) -> StatusAnswer:
        await self.clock.sleep(self.behavior.latency())
        entry = self._find(upstream_id)
        if (fault := self.behavior.read_fault()) is not None:
            return fault
        if entry is None or self.behavior.is_temporarily_missing(upstream_id):
            return RequestNotFound(_fault("not_found", 404))
        word = self._status(entry)
        if word in {"cancelled", "completed"}:
            return Finished(word)
        odd = self.behavior.unknown_status()
        if odd is not None:
            return InProgress(is_running=False, status_word=odd, is_documented=False)
        running = word == "in_progress"
        return InProgress(
            is_running=running, status_word=word, queue_position=None if running else 1
        )

    async def get_result(self, upstream_id: str) -> ResultAnswer:
        await self.clock.sleep(self.behavior.latency())
        entry = self._find(upstream_id)
        if (fault := self.behavior.read_fault()) is not None:
            return fault
        if entry is None:
            return RequestNotFound(_fault("not_found", 404))
        if entry.cancelled_at is not None:
            return RunCancelled(cost=None, times=UpstreamTimes())
        if not self._past(entry, entry.plan.result_after):
            word = self._status(entry)
            return InProgress(is_running=word == "in_progress", status_word=word)
        return self._outcome(entry)

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        """See `worker.ports.Upstream`. It works while the request is queued."""
        await self.clock.sleep(self.behavior.latency())
        entry = self._find(upstream_id)
        if (fault := self.behavior.read_fault()) is not None:
            return fault
        if entry is None:
            return RequestNotFound(_fault("not_found", 404))
        queued = entry.cancelled_at is None and not self._past(entry, entry.plan.starts_after)
        if queued:
            entry.cancelled_at = self.clock.now()
        if self.behavior.cancel_answer_lost():
            return Unreachable(_fault("read_timeout"))
        return CancelOutcome.CANCELLED if queued else CancelOutcome.NOT_CANCELLABLE

    def _take(self, upstream_id: str, job_id: str) -> None:
        self.ledger.append(
            LedgerEntry(upstream_id, job_id, self.clock.now(), self.behavior.plan_request())
        )

    def _find(self, upstream_id: str) -> LedgerEntry | None:
        """The request, if reads find it: not yet too early, not yet forgotten."""
        for entry in self.ledger:
            if entry.upstream_id == upstream_id:
                forgotten = entry.plan.forgotten_after
                gone = forgotten is not None and self._past(entry, forgotten)
                return entry if self._past(entry, entry.plan.visible_after) and not gone else None
        return None

    def _past(self, entry: LedgerEntry, span: timedelta) -> bool:
        return self.clock.now() >= entry.at + span

    def _status(self, entry: LedgerEntry) -> str:
        if entry.cancelled_at is not None:
            return "cancelled"
        if self._past(entry, entry.plan.ends_after):
            return "completed"
        return "in_progress" if self._past(entry, entry.plan.starts_after) else "in_queue"

    def _outcome(self, entry: LedgerEntry) -> ResultAnswer:
        course = entry.plan
        told = course.cost_after is not None and self._past(entry, course.cost_after)
        price = course.price if entry.charged else MicroUsd(0)
        cost, times = (
            price if told else None,
            UpstreamTimes(finished_at=entry.at + course.ends_after),
        )
        match course.outcome:
            case RequestOutcome.COMPLETED:
                return RunCompleted(output=entry.output, cost=cost, times=times)
            case RequestOutcome.NO_OUTPUT:
                return RunFailed(_fault("no_output"), cost=cost, times=times)
            case RequestOutcome.FAILED_FREE | RequestOutcome.FAILED_CHARGED:
                return RunFailed(_fault("failed"), cost=cost, times=times)


def _submit_answer(going: SubmitPlan, upstream_id: str) -> SubmitAnswer:
    match going.outcome:
        case SubmitOutcome.ACCEPTED:
            return Accepted(upstream_id)
        case SubmitOutcome.LOST_BEFORE | SubmitOutcome.LOST_AFTER:
            return Indeterminate(_fault("read_timeout"))
        case SubmitOutcome.NOT_SENT:
            return NotSent(_fault("connect_error"))
        case SubmitOutcome.THROTTLED:
            return NotSent(_fault("http_429", 429), going.retry_after)
        case SubmitOutcome.REJECTED:
            return Rejected(_fault("validation", 422))
        case SubmitOutcome.REFUSED:
            return Rejected(_fault("no_balance", 402), RefusalScope.BALANCE)


def _fault(kind: str, http_status: int | None = None) -> UpstreamFault:
    return UpstreamFault(kind, f"made up: {kind}", http_status)
