"""Takes a job one step on: act, learn, decide, store, tell.

Knows the steps; knows no RunComfy wire, no Redis, no arq. What an answer means is the affair of
`worker.decisions`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.changes import Change, Outcome
from core.clock import Clock
from core.errors import StoreSilent, StoreUnavailable
from core.events import Emit, Trouble
from core.ids import IdSource
from core.jobs import CancelOutcome, Errand, Job, JobState
from core.sharing import cancelled_for_heir, expired_for_heir, handover, next_check
from core.tenants import DoubtPolicy
from worker import telling
from worker.decisions import afterwards, collecting, following, running, submitting
from worker.decisions.moves import Move, Rules, Wait
from worker.ports import (
    Accepted,
    CancelDone,
    Gate,
    Jobs,
    NoAnswer,
    NotSent,
    Setups,
    SubmitAnswer,
    Tenants,
    Upstream,
    UpstreamFault,
)
from worker.recording import Recorder

STORE_RETRY: Final = timedelta(milliseconds=500)
SUBMIT_ROOM: Final = timedelta(seconds=1)
"""When a job is looked at again that found too many others before it at this worker."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What the lifecycle works with. `name` is this worker's own, unlike any other's."""

    name: str
    jobs: Jobs
    tenants: Tenants
    webhooks: Setups
    upstream: Upstream
    gate: Gate
    clock: Clock
    ids: IdSource
    emit: Emit
    rules: Rules


class Lifecycle:
    """The steps of a job's life, one coroutine per state."""

    def __init__(self, hands: Hands) -> None:
        """At most `submits_at_once` paid calls of this process are under way at any time."""
        self._hands = hands
        self._policy = hands.rules.policy
        self._recorder = Recorder(hands.jobs, hands.webhooks, hands.ids, hands.clock)
        self._submits = asyncio.Semaphore(self._policy.submits_at_once)
        self._submits_queued = 0
        self._steps: Mapping[JobState, Callable[[Job], Awaitable[Job | None]]] = {
            JobState.QUEUED: self._submit,
            JobState.SUBMITTING: self._declare_lost,
            JobState.IN_DOUBT: self._end_doubt,
            JobState.RUNNING: self._poll,
            JobState.CANCELLING: self._cancel,
            JobState.COLLECTING: self._collect,
            JobState.FOLLOWING: self._follow,
            JobState.SUCCEEDED: self._errand,
            JobState.FAILED: self._errand,
            JobState.CANCELLED: self._errand,
            JobState.EXPIRED: self._errand,
        }

    @property
    def states(self) -> Sequence[JobState]:
        """The states that have a step."""
        return tuple(self._steps)

    async def advance(self, job: Job) -> None:
        """Take a job on until it has to wait.

        Raises `StoreUnavailable`; its lease then runs out.
        """
        following: Job | None = job
        while following is not None:
            job = following
            following = await self._steps[job.state](job)
            if following is not None and not self._at_once(following):
                return

    def _at_once(self, job: Job) -> bool:
        """Whether the next step follows at once: a result to fetch, or a time that has come."""
        if job.state is JobState.COLLECTING:
            return job.trouble is None
        return job.due_at is not None and job.due_at <= self._hands.clock.now()

    # Submitting

    async def _submit(self, job: Job) -> Job | None:
        if self._submits_queued >= self._policy.submits_queued:
            later = self._hands.clock.now() + SUBMIT_ROOM
            await self._hands.jobs.put_off(job, later)
            return None
        self._submits_queued += 1
        try:
            return await self._submit_in_turn(job)
        finally:
            self._submits_queued -= 1

    async def _submit_in_turn(self, job: Job) -> Job | None:
        # The wait for a place comes first: the gate may close, and time run out, while it lasts.
        async with self._submits:
            overdue = submitting.start_overdue(job, self._hands.clock.now())
            if overdue is not None:
                return await self._take(job, overdue)
            # Asked for together: one round trip of the store's.
            closed_until, body = await asyncio.gather(
                self._hands.gate.closed_until(), self._hands.jobs.input(job.id)
            )
            if closed_until is None:
                return await self._submit_once(job, body)
            limit = submitting.start_limit(job) or closed_until
            await self._hands.jobs.put_off(job, min(closed_until, limit))
            return None

    async def _submit_once(self, job: Job, body: bytes | None) -> Job | None:
        if body is None:
            return None
        now = self._hands.clock.now()
        claim = submitting.claimed(job, self._hands.name, now, self._hands.rules)
        try:
            held = await self._take(job, claim)
        except StoreSilent:
            return await self._unclaim(claim.after)
        if held is None:
            return None
        async with self._lease_kept(held):
            answer = await self._hands.upstream.submit(held.model_id, body)
            self._hands.emit(telling.submit_answered(held, answer))
            following, _ = await asyncio.gather(
                self._record_answer(held, answer), self._learn(answer)
            )
        return following

    async def _learn(self, answer: SubmitAnswer) -> None:
        with suppress(StoreUnavailable):
            await self._hands.gate.learn(answer)

    async def _unclaim(self, claimed: Job) -> Job | None:
        """Whether the claim was written is unknown, but nothing was sent: take it back."""
        never = NotSent(UpstreamFault("store_silent", "The store fell silent before the submit."))
        while True:
            try:
                record = await self._hands.jobs.load(claimed.id)
                if record is None or not _same_submit(record.job, claimed):
                    return None
                return await self._try_to_record(record.job, never)
            except StoreUnavailable:
                await self._hands.clock.sleep(STORE_RETRY)

    async def _record_answer(self, job: Job, answer: SubmitAnswer) -> Job | None:
        """Store a submit's answer, however long that takes: it is the only trace of money spent."""
        while True:
            try:
                return await self._try_to_record(job, answer)
            except StoreUnavailable:
                await self._hands.clock.sleep(STORE_RETRY)

    async def _try_to_record(self, job: Job, answer: SubmitAnswer) -> Job | None:
        """Against the record as it stands: the job's lease may have been lost on the way."""
        held = job
        while True:
            move = await self._meaning(held, job, answer)
            if move is None:
                return None
            stored = await self._take(job, move)
            if stored is not None:
                return stored
            record = await self._hands.jobs.load(job.id)
            if record is None:
                self._trouble(job, "job_vanished", _upstream_id(answer))
                return None
            job = record.job

    async def _meaning(self, held: Job, job: Job, answer: SubmitAnswer) -> Move | None:
        """What the answer to the submit of `held` means for the record as it stands.

        Only an acceptance counts beyond its own submit: another answer says nothing of a resend.
        """
        now = self._hands.clock.now()
        concerned = isinstance(answer, Accepted) or _same_submit(held, job)
        if concerned and job.allows(telling.SUBMIT_FACTS[type(answer)]):
            doubt = self._policy.doubt
            if isinstance(answer, NoAnswer):
                doubt = await self._doubt_policy(job)
            return submitting.submitted(job, answer, doubt, now, self._hands.rules)
        upstream_id = _upstream_id(answer)
        if upstream_id is None or upstream_id == job.upstream_id:
            return None
        self._trouble(job, "second_acceptance", upstream_id)
        return afterwards.orphaned(job, upstream_id, now)

    async def _declare_lost(self, job: Job) -> Job | None:
        """Reached only when nobody renewed the lease of a submit: its worker died."""
        doubt = await self._doubt_policy(job)
        now = self._hands.clock.now()
        return await self._take(job, submitting.lease_lost(job, doubt, now, self._hands.rules))

    async def _end_doubt(self, job: Job) -> Job | None:
        doubt = await self._doubt_policy(job)
        now = self._hands.clock.now()
        return await self._take(job, submitting.doubt_overdue(job, doubt, now))

    async def _doubt_policy(self, job: Job) -> DoubtPolicy:
        tenant = await self._hands.tenants.load(job.tenant)
        own = tenant.doubt if tenant is not None else None
        return own or self._policy.doubt

    # Running

    async def _poll(self, job: Job) -> Job | None:
        upstream_id, now = _known_id(job), self._hands.clock.now()
        if job.cancel_outcome is CancelOutcome.REQUESTED:
            passed_on = running.cancel_passed_on(job, now)
            return await self._take_unless_wanted(job, passed_on, cancelled_for_heir)
        if job.finish_by is not None and now >= job.finish_by:
            return await self._end_overdue(job)
        answer = await self._hands.upstream.status(upstream_id)
        self._hands.emit(telling.polled(job, answer))
        decided = running.polled(job, answer, self._hands.clock.now(), self._hands.rules)
        return await self._take(job, decided)

    async def _end_overdue(self, job: Job) -> Job | None:
        """RunComfy is asked to cancel, unless others wait for what it is doing."""
        if await self._hands.jobs.heir(job.id) is not None:
            return await self._hand_on(job, expired_for_heir)
        asked = await self._hands.upstream.cancel(_known_id(job))
        overdue = running.run_overdue(job, self._hands.clock.now(), asked)
        return await self._take_unless_wanted(job, overdue, expired_for_heir)

    async def _cancel(self, job: Job) -> Job | None:
        answer = await self._hands.upstream.cancel(_known_id(job))
        now = self._hands.clock.now()
        overdue = job.finish_by is not None and now >= job.finish_by
        if overdue and not isinstance(answer, CancelDone):
            return await self._take(job, running.run_overdue(job, now, answer))
        decided = running.cancel_answered(job, answer, now, self._hands.rules)
        return await self._take(job, decided)

    async def _collect(self, job: Job) -> Job | None:
        answer = await self._hands.upstream.result(_known_id(job))
        decided = collecting.collected(job, answer, self._hands.clock.now(), self._hands.rules)
        return await self._take(job, decided)

    async def _errand(self, job: Job) -> Job | None:
        if job.errand is Errand.NOTIFY:
            await self._take(job, afterwards.notified(job, self._hands.clock.now()))
            return None
        if job.errand is None or job.upstream_id is None:
            return None
        answer = await self._hands.upstream.result(job.upstream_id)
        decide = _ERRANDS[job.errand]
        await self._take(job, decide(job, answer, self._hands.clock.now(), self._hands.rules))
        return None

    # Sharing another job's work

    async def _follow(self, job: Job) -> Job | None:
        # The next look is set before this one: news that comes meanwhile must not be put off.
        await self._hands.jobs.put_off(job, next_check(job, self._hands.clock.now()))
        leader = await self._hands.jobs.leader(job)
        promote = await self._promotes(job) if leader is not None and leader.job.final else False
        decided = following.followed(job, leader, self._hands.clock.now(), promote=promote)
        if isinstance(decided, Wait):
            return None
        if await self._store(job, decided) is Outcome.OVER_BUDGET:
            await self._store(job, following.over_budget(job, self._hands.clock.now()))
        return None

    async def _promotes(self, job: Job) -> bool:
        tenant = await self._hands.tenants.load(job.tenant)
        return tenant is not None and tenant.reuse.promote

    async def _take_unless_wanted(
        self, job: Job, move: Move, for_heir: Callable[[Job, datetime], Job]
    ) -> Job | None:
        """Make a move true that ends running work, or hand that on to who still wants it."""
        outcome = await self._store(job, move)
        if outcome is Outcome.WANTED:
            return await self._hand_on(job, for_heir)
        return move.after if outcome is Outcome.STORED else None

    async def _hand_on(self, job: Job, for_heir: Callable[[Job, datetime], Job]) -> Job | None:
        """Somebody who was first at the job or at its heir is waited out: the lease runs on."""
        heir, now = await self._hands.jobs.heir(job.id), self._hands.clock.now()
        if heir is None:
            await self._hands.jobs.put_off(job, now)
            return None
        change = handover(job, for_heir(job, now), heir, now)
        if await self._recorder.store(change) is Outcome.STORED:
            for event in telling.handed_on(change):
                self._hands.emit(event)
        return None

    # What the steps share

    async def _take(self, job: Job, decided: Move | Wait) -> Job | None:
        """Make a decision true. None: there is nothing more to do here, or somebody was first."""
        if isinstance(decided, Wait):
            await self._hands.jobs.put_off(job, decided.due_at, polled=True)
            return None
        stored = await self._store(job, decided) is Outcome.STORED
        return decided.after if stored else None

    async def _store(self, job: Job, decided: Move) -> Outcome:
        change = Change(
            before=job,
            after=decided.after,
            entries=() if decided.entry is None else (decided.entry,),
            output=decided.output,
            instead_of=decided.instead_of,
        )
        outcome = await self._recorder.store(change)
        if outcome is Outcome.STORED:
            for event in telling.stored(change, decided):
                self._hands.emit(event)
        return outcome

    @asynccontextmanager
    async def _lease_kept(self, job: Job) -> AsyncIterator[None]:
        """While the body runs, the job stays ours: the lease is renewed until it ends."""
        renewing = asyncio.create_task(self._renew(job))
        try:
            yield
        finally:
            renewing.cancel()

    async def _renew(self, held: Job) -> None:
        job, pause = held, self._policy.renew_every
        while True:
            await self._hands.clock.sleep(pause)
            try:
                renewed = await self._renewed(job)
            except StoreUnavailable:
                pause = STORE_RETRY
                continue
            if renewed is None:
                return
            job, pause = renewed, self._policy.renew_every

    async def _renewed(self, job: Job) -> Job | None:
        """The record whose lease was renewed; None when the submit is not ours any more.

        A wish to cancel makes a new version of it, and must not cost the lease.
        """
        until = self._hands.clock.now() + self._policy.lease
        if await self._hands.jobs.put_off(job, until):
            return job
        record = await self._hands.jobs.load(job.id)
        if record is None or not _same_submit(record.job, job):
            return None
        if record.job.state is not JobState.SUBMITTING:
            return None
        await self._hands.jobs.put_off(record.job, until)
        return record.job

    def _trouble(self, job: Job, code: str, upstream_id: str | None) -> None:
        self._hands.emit(Trouble(code=code, detail=f"upstream id {upstream_id}", job_id=job.id))


_ERRANDS: Final = {
    Errand.READ_COST: afterwards.cost_read,
    Errand.AWAIT_LATE_RESULT: afterwards.late_result,
}


def _known_id(job: Job) -> str:
    """The table lets no job run without RunComfy's id."""
    if job.upstream_id is None:
        raise ValueError(f"job {job.id} runs without an upstream id")
    return job.upstream_id


def _upstream_id(answer: SubmitAnswer) -> str | None:
    return answer.upstream_id if isinstance(answer, Accepted) else None


def _same_submit(one: Job, other: Job) -> bool:
    """Whether two records of a job speak of one submit; each claim makes another."""
    return (one.holder, one.sent_at, one.attempts) == (other.holder, other.sent_at, other.attempts)
