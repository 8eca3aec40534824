"""RunComfy with a ledger: what it took and charges is known exactly, whatever its callers learn.

Speaks the lifecycle's port, so that no HTTP is needed. A `Whim` decides each call's fate.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Final, Protocol

from core.money import MicroUsd
from worker.ports import (
    Accepted,
    CancelDone,
    Cancelled,
    Completed,
    Ended,
    Failed,
    Gone,
    NoAnswer,
    NotCancellable,
    NotSent,
    Open,
    Rejected,
    Times,
    Unreachable,
    UpstreamFault,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from core.clock import Clock
    from worker.ports import CancelAnswer, ResultAnswer, StatusAnswer, SubmitAnswer


class SubmitFate(StrEnum):
    """What becomes of a submit."""

    ACCEPTED = auto()
    LOST_BEFORE = auto()
    LOST_AFTER = auto()
    NOT_SENT = auto()
    THROTTLED = auto()
    REJECTED = auto()
    REFUSED = auto()


ARRIVES: Final = frozenset({SubmitFate.ACCEPTED, SubmitFate.LOST_AFTER})


class Ending(StrEnum):
    """How a request ends, and whether that costs."""

    COMPLETED = auto()
    FAILED_FREE = auto()
    FAILED_CHARGED = auto()
    NO_OUTPUT = auto()


@dataclass(frozen=True, slots=True)
class Submission:
    """How a submit goes: `arrives` and `answers` after so long, `retry_after` as it is told."""

    fate: SubmitFate
    arrives: timedelta
    answers: timedelta
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How a request goes once it was taken; spans count from then. None: never."""

    visible: timedelta
    starts: timedelta
    ends: timedelta
    result: timedelta
    cost: timedelta | None
    forgotten: timedelta | None
    ending: Ending
    price: MicroUsd


@dataclass(slots=True)
class Entry:
    """A paid submission in the ledger."""

    upstream_id: str
    job_id: str
    at: datetime
    course: Course
    cancelled_at: datetime | None = None

    @property
    def charged(self) -> bool:
        """Whether RunComfy keeps the money."""
        return self.cancelled_at is None and self.course.ending is not Ending.FAILED_FREE

    @property
    def output(self) -> dict[str, object]:
        """What it brings."""
        return {"video": f"https://media.test/{self.upstream_id}.mp4"}


class Whim(Protocol):
    """What RunComfy feels like."""

    def submission(self) -> Submission:
        """The next submit."""
        ...

    def course(self) -> Course:
        """The next request that is taken."""
        ...

    def read_fault(self) -> Unreachable | None:
        """The next read's trouble."""
        ...

    def blink(self, upstream_id: str) -> bool:
        """Whether the next read says, once, that it does not know this id."""
        ...

    def latency(self) -> timedelta:
        """How long the next read or cancel takes."""
        ...

    def odd_word(self) -> str | None:
        """A word nobody documented, for the next status."""
        ...

    def cancel_answer_lost(self) -> bool:
        """Whether the next cancel's answer is lost."""
        ...


@dataclass(slots=True)
class FakeRunComfy:
    """The account's whole history. The body of a submit is its job's id."""

    clock: Clock
    whim: Whim
    ledger: list[Entry] = field(default_factory=list)
    submits: int = 0

    def of_job(self, job_id: str) -> list[Entry]:
        """What was taken for a job."""
        return [entry for entry in self.ledger if entry.job_id == job_id]

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        """See `worker.ports.Upstream`. What has left arrives, whatever becomes of its caller."""
        del model_id
        going, self.submits = self.whim.submission(), self.submits + 1
        upstream_id = f"up-{self.submits}"
        if going.fate in ARRIVES:
            loop = asyncio.get_running_loop()
            loop.call_later(going.arrives.total_seconds(), self._take, upstream_id, body.decode())
        await self.clock.sleep(going.answers)
        return _submit_answer(going, upstream_id)

    async def status(self, upstream_id: str) -> StatusAnswer:
        """See `worker.ports.Upstream`."""
        await self.clock.sleep(self.whim.latency())
        entry = self._find(upstream_id)
        if (fault := self.whim.read_fault()) is not None:
            return fault
        if entry is None or self.whim.blink(upstream_id):
            return Gone(_fault("gone", 404))
        word = self._word(entry)
        if word in {"cancelled", "completed"}:
            return Ended(word)
        odd = self.whim.odd_word()
        if odd is not None:
            return Open(in_progress=False, word=odd, known=False)
        running = word == "in_progress"
        return Open(in_progress=running, word=word, queue_position=None if running else 1)

    async def result(self, upstream_id: str) -> ResultAnswer:
        """See `worker.ports.Upstream`."""
        await self.clock.sleep(self.whim.latency())
        entry = self._find(upstream_id)
        if (fault := self.whim.read_fault()) is not None:
            return fault
        if entry is None:
            return Gone(_fault("gone", 404))
        if entry.cancelled_at is not None:
            return Cancelled(cost=None, times=Times())
        if not self._past(entry, entry.course.result):
            word = self._word(entry)
            return Open(in_progress=word == "in_progress", word=word)
        return self._ending(entry)

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        """See `worker.ports.Upstream`. It works while the request is queued."""
        await self.clock.sleep(self.whim.latency())
        entry = self._find(upstream_id)
        if (fault := self.whim.read_fault()) is not None:
            return fault
        if entry is None:
            return Gone(_fault("gone", 404))
        queued = entry.cancelled_at is None and not self._past(entry, entry.course.starts)
        if queued:
            entry.cancelled_at = self.clock.now()
        if self.whim.cancel_answer_lost():
            return Unreachable(_fault("read_timeout"))
        return CancelDone() if queued else NotCancellable()

    def _take(self, upstream_id: str, job_id: str) -> None:
        self.ledger.append(Entry(upstream_id, job_id, self.clock.now(), self.whim.course()))

    def _find(self, upstream_id: str) -> Entry | None:
        """The request as RunComfy's own reads see it: not too early, not for ever."""
        for entry in self.ledger:
            if entry.upstream_id == upstream_id:
                forgotten = entry.course.forgotten
                gone = forgotten is not None and self._past(entry, forgotten)
                return entry if self._past(entry, entry.course.visible) and not gone else None
        return None

    def _past(self, entry: Entry, span: timedelta) -> bool:
        return self.clock.now() >= entry.at + span

    def _word(self, entry: Entry) -> str:
        if entry.cancelled_at is not None:
            return "cancelled"
        if self._past(entry, entry.course.ends):
            return "completed"
        return "in_progress" if self._past(entry, entry.course.starts) else "in_queue"

    def _ending(self, entry: Entry) -> ResultAnswer:
        course = entry.course
        told = course.cost is not None and self._past(entry, course.cost)
        price = course.price if entry.charged else MicroUsd(0)
        cost, times = price if told else None, Times(finished_at=entry.at + course.ends)
        match course.ending:
            case Ending.COMPLETED:
                return Completed(output=entry.output, cost=cost, times=times)
            case Ending.NO_OUTPUT:
                return Failed(_fault("no_output"), cost=cost, times=times)
            case Ending.FAILED_FREE | Ending.FAILED_CHARGED:
                return Failed(_fault("failed"), cost=cost, times=times)


def _submit_answer(going: Submission, upstream_id: str) -> SubmitAnswer:
    match going.fate:
        case SubmitFate.ACCEPTED:
            return Accepted(upstream_id)
        case SubmitFate.LOST_BEFORE | SubmitFate.LOST_AFTER:
            return NoAnswer(_fault("read_timeout"))
        case SubmitFate.NOT_SENT:
            return NotSent(_fault("connect_error"))
        case SubmitFate.THROTTLED:
            return NotSent(_fault("http_429", 429), going.retry_after)
        case SubmitFate.REJECTED:
            return Rejected(_fault("validation", 422))
        case SubmitFate.REFUSED:
            return Rejected(_fault("no_balance", 402), account_refused=True)


def _fault(kind: str, http_status: int | None = None) -> UpstreamFault:
    return UpstreamFault(kind, f"made up: {kind}", http_status)
