"""Sends a claimed submit if the journal allows it: the only place from which money is spent.

What the journal's entries mean is decided in `core.journal.decisions`.
"""

import asyncio
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from core.clock import Clock
from core.errors import Unavailable
from core.ids import IdSource
from core.jobs.job import Job
from core.jobs.submission import Submission
from core.journal.decisions import InDoubt, Replay, Send, SubmitStep, next_submit_step
from core.journal.journal import Journal
from core.journal.objects import JournalUnavailable
from core.journal.records import JournalAnswer, JournalEntry, Outcome, attempts_prefix
from worker.jobs.decisions.submit import WAITING_BY_SCOPE
from worker.ports import (
    Accepted,
    Indeterminate,
    NotSent,
    RefusalScope,
    Rejected,
    SubmitAnswer,
    Upstream,
)
from worker.ports import UpstreamFault as Fault

JOURNAL_RETRY_DELAY: Final = timedelta(milliseconds=500)
"""Between two tries of a submit that is claimed."""
JOURNAL_CHECK_DELAY: Final = timedelta(seconds=1)
"""After a failure of the journal no further submit is claimed for this long."""

UNANSWERED: Final = Fault(
    "journal_entry",
    "The journal has a submit of this job without an answer: it may have been sent and billed.",
)
_ANSWER_UNREADABLE: Final = Fault(
    "journal_entry", "The journal's answer to the submit of this job cannot be read."
)
_WORKER_LOST: Final = Fault(
    "worker_lost", "The worker stopped before it could record RunComfy's answer."
)
_WORKER_LOST_BEFORE: Final = Fault(
    "worker_lost", "The worker stopped before it sent the submit; the journal has no entry of it."
)
_STORE_WENT_BACK: Final = Fault(
    "store_went_back", "Redis went back to an earlier state, or is another one; nothing was sent."
)
_INPUT_LOST: Final = Fault(
    "input_lost", "Redis lost the job, and the journal may not keep its input; nothing was sent."
)
_OTHER_JOURNAL: Final = Fault(
    "other_journal", "The journal was replaced or unmounted; nothing was sent."
)
_ENTRY_NOT_NOTED: Final = Fault(
    "store_silent", "Redis did not note the journal's entry of the submit; nothing was sent."
)
_TOO_LATE: Final = Fault(
    "claim_expired", "The claim of the submit ran out before it was sent; nothing was sent."
)


@dataclass(frozen=True, slots=True)
class SentSubmit:
    """What became of a claimed submit. `entry`: the journal's entry that still has no answer."""

    answer: SubmitAnswer
    entry: int | None = None
    is_replayed: bool = False
    """Nothing was sent now: this is what the journal knows of an earlier submit."""


class SubmitGuard(Protocol):
    """Whether the store can be trusted. See `worker.jobs.store_guard.StoreGuard`."""

    @property
    def is_open(self) -> bool: ...

    async def allows_submit(self) -> bool: ...

    async def report_missing(self, claimed_at: datetime) -> None: ...

    async def check_journal(self) -> datetime | None: ...

    async def is_in_own_journal(self) -> bool: ...

    async def note_entry(self, claimed: Job, number: int) -> bool: ...

    async def load_noted_entry(self, claimed: Job) -> int | None: ...

    async def report_lost_entry(self, claimed: Job, number: int) -> None: ...


class PaidSubmitter:
    """Sends a submit after its entry was created, and writes the answer beside it.

    Without a journal it only sends.
    """

    def __init__(
        self,
        upstream: Upstream,
        journal: Journal | None,
        clock: Clock,
        ids: IdSource,
        guard: SubmitGuard,
        lease: timedelta,
    ) -> None:
        """A submit that could not be sent within `lease` after its claim is not sent."""
        self._upstream = upstream
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._guard = guard
        self._lease = lease
        self._unwritten: dict[tuple[str, int], tuple[Job, JournalAnswer]] = {}

    @property
    def is_blocked(self) -> bool:
        """Whether no submit can leave now: the journal has failed, or the store went back."""
        if not self._guard.is_open:
            return True
        return self._journal is not None and self._journal.failed_within(JOURNAL_CHECK_DELAY)

    async def send(
        self, claimed: Job, submission: Submission, body: bytes | None = None
    ) -> SentSubmit:
        """Return RunComfy's answer to a claimed submit, or what the journal knows of it.

        `body` is what RunComfy gets if it differs from the stored input: with files put into it.
        """
        body = submission.input if body is None else body
        started = self._clock.monotonic()
        if not await self._guard_allows():
            return SentSubmit(NotSent(_STORE_WENT_BACK), is_replayed=True)
        if self._journal is None:
            return SentSubmit(await self._upstream.submit(claimed.model_id, body))
        step = await self._open(self._journal, claimed, submission)
        if isinstance(step, Send):
            obstacle = await self._obstacle(claimed, step.number, started)
            return await self._send(claimed, body, step.number, obstacle)
        answer: SubmitAnswer = Indeterminate(UNANSWERED)
        if isinstance(step, Replay):
            answer = await self._replay(self._journal, claimed, step.number, step.outcome)
        return SentSubmit(answer, is_replayed=True)

    async def _send(
        self, claimed: Job, body: bytes, number: int, obstacle: Fault | None
    ) -> SentSubmit:
        if not body:
            return SentSubmit(Rejected(_INPUT_LOST), is_replayed=True)
        if obstacle is not None:
            return await self._free(claimed, number, NotSent(obstacle))
        answer = await self._upstream.submit(claimed.model_id, body)
        if may_be_sent_again(answer):
            return await self._free(claimed, number, answer)
        return SentSubmit(answer, number)

    async def report_missing(self, claimed: Job) -> None:
        """Have a job rebuilt that the store lost during its submit. Raises `StoreUnavailable`."""
        await self._guard.report_missing(claimed.sent_at or self._clock.now())

    async def record(self, claimed: Job, sent: SentSubmit) -> None:
        """Write the answer beside its entry, or keep it for later while the journal is away."""
        answer = recorded_answer(sent.answer, self._clock.now())
        if self._journal is None or sent.entry is None or answer is None:
            return
        try:
            await self._journal.answer(claimed, sent.entry, answer)
        except JournalUnavailable:
            self._unwritten[claimed.id, sent.entry] = (claimed, answer)

    async def find_answer(self, job: Job) -> SubmitAnswer:
        """Return what is known of a submit whose worker died before it stored the answer.

        Raises `JournalUnavailable`, `StoreUnavailable`.
        """
        if self._journal is None:
            return Indeterminate(_WORKER_LOST)
        # Before and after: mounted in between, it would be empty first and then the right one.
        await self._guard.check_journal()
        noted = await self._guard.load_noted_entry(job)
        attempts = await self._journal.list_attempts(job)
        match next_submit_step(attempts, job.resends_approved):
            case Replay(number, outcome):
                answer = await self._journal.read_answer(attempts_prefix(job), number, outcome)
                return Indeterminate(_WORKER_LOST) if answer is None else replayed(answer)
            case InDoubt():
                return Indeterminate(_WORKER_LOST)
            case Send():
                since = await self._guard.check_journal()
                if since is not None and (job.sent_at is None or job.sent_at < since):
                    return Indeterminate(_WORKER_LOST)
                if noted is not None and noted not in {each.number for each in attempts}:
                    await self._guard.report_lost_entry(job, noted)
                    raise JournalUnavailable("It lacks the entry of this submit: it went back.")
                return NotSent(_WORKER_LOST_BEFORE)

    async def write_answers(self) -> None:
        """Write the answers that the journal did not take; find out whether it answers."""
        if self._journal is None:
            return
        with suppress(JournalUnavailable):
            for key, (job, answer) in tuple(self._unwritten.items()):
                await self._journal.answer(job, key[1], answer)
                del self._unwritten[key]
            await self._journal.probe()

    async def _obstacle(self, claimed: Job, number: int, started: timedelta) -> Fault | None:
        """Return why a submit whose entry was just created must not leave."""
        # At the same time: the store's answer costs a submit no further wait.
        is_own, obstacle = await asyncio.gather(
            self._is_in_own_journal(), self._note_entry(claimed, number)
        )
        if not is_own:
            return _OTHER_JOURNAL
        # A process that was frozen must not spend money on a job that has moved on.
        is_late = self._clock.monotonic() - started >= self._lease
        return _TOO_LATE if is_late else obstacle

    async def _note_entry(self, claimed: Job, number: int) -> Fault | None:
        try:
            is_noted = await self._guard.note_entry(claimed, number)
        except Unavailable:
            return _ENTRY_NOT_NOTED
        return None if is_noted else _STORE_WENT_BACK

    async def _is_in_own_journal(self) -> bool:
        while True:
            try:
                return await self._guard.is_in_own_journal()
            except JournalUnavailable:
                await self._clock.sleep(JOURNAL_RETRY_DELAY)

    async def _guard_allows(self) -> bool:
        try:
            return await self._guard.allows_submit()
        except Unavailable:
            return False

    async def _open(self, journal: Journal, claimed: Job, submission: Submission) -> SubmitStep:
        """Create the entry. While the journal is away, wait: nothing has been sent."""
        entry = JournalEntry(claimed, 1, submission, self._ids.secret().hex())
        while True:
            try:
                return await _try_to_open(journal, entry)
            except JournalUnavailable:
                await self._clock.sleep(JOURNAL_RETRY_DELAY)

    async def _replay(
        self, journal: Journal, claimed: Job, number: int, outcome: Outcome
    ) -> SubmitAnswer:
        while True:
            try:
                answer = await journal.read_answer(attempts_prefix(claimed), number, outcome)
            except JournalUnavailable:
                await self._clock.sleep(JOURNAL_RETRY_DELAY)
            else:
                return Indeterminate(_ANSWER_UNREADABLE) if answer is None else replayed(answer)

    async def _free(self, claimed: Job, number: int, answer: SubmitAnswer) -> SentSubmit:
        """Write that a submit started no work: the job's record may state it only after that."""
        recorded = recorded_answer(answer, self._clock.now())
        while self._journal is not None and recorded is not None:
            try:
                await self._journal.answer(claimed, number, recorded)
            except JournalUnavailable:
                await self._clock.sleep(JOURNAL_RETRY_DELAY)
            else:
                break
        return SentSubmit(answer)


async def _try_to_open(journal: Journal, first: JournalEntry) -> SubmitStep:
    """Create the job's first entry, or the next one that its entries allow."""
    job, step = first.job, Send(1)
    while True:
        if await journal.create(replace(first, number=step.number)):
            return step
        following = next_submit_step(await journal.list_attempts(job), job.resends_approved)
        if isinstance(following, InDoubt):
            entry = await journal.read_entry(attempts_prefix(job), following.number)
            # A create whose answer was lost may have been done.
            is_own = entry is not None and entry.claim == first.claim
            return Send(following.number) if is_own else following
        if isinstance(following, Replay):
            return following
        step = following


def recorded_answer(answer: SubmitAnswer, now: datetime) -> JournalAnswer | None:
    """Return what the journal keeps of an answer; None if it is unknown what RunComfy did."""
    match answer:
        case Accepted(upstream_id):
            return JournalAnswer(Outcome.ACCEPTED, now, upstream_id)
        case NotSent(fault) | Rejected(fault) if may_be_sent_again(answer):
            return replace(JournalAnswer(Outcome.NOT_SENT, now), **asdict(fault))
        case Rejected(fault, scope):
            return replace(JournalAnswer(Outcome.REJECTED, now, scope=scope), **asdict(fault))
        case _:
            return None


def may_be_sent_again(answer: SubmitAnswer) -> bool:
    """Return whether an answer started no work and leaves the job to be submitted later."""
    if isinstance(answer, Rejected):
        return answer.scope in WAITING_BY_SCOPE
    return isinstance(answer, NotSent)


def replayed(answer: JournalAnswer) -> SubmitAnswer:
    """Return an answer that was read from the journal as RunComfy gave it."""
    fault = Fault(answer.kind, answer.message, answer.http_status, answer.code)
    if answer.outcome is Outcome.ACCEPTED and answer.upstream_id is not None:
        return Accepted(answer.upstream_id)
    if answer.outcome is Outcome.REJECTED:
        return Rejected(fault, RefusalScope(answer.scope))
    return Indeterminate(_ANSWER_UNREADABLE)
