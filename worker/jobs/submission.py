"""The one paid call of a job: claim, send, and the answer, or its absence, on record.

Knows what may be sent and when; what an answer means is the affair of `worker.decisions`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

from core.errors import StoreSilent, StoreUnavailable
from core.jobs.job import Job, JobState
from core.observability.events import OperationalWarning
from core.tenants.tenant import DoubtPolicy
from worker.jobs import job_events as telling
from worker.jobs.decisions import after_end as afterwards
from worker.jobs.decisions import submit as submitting
from worker.jobs.decisions.transition import Move
from worker.jobs.job_writer import Hands, Recorder
from worker.ports import Accepted, NoAnswer, NotSent, SubmitAnswer, UpstreamFault

STORE_RETRY: Final = timedelta(milliseconds=500)
SUBMIT_ROOM: Final = timedelta(seconds=1)
"""When a job is looked at again that found too many others before it at this worker."""


class Submission:
    """The steps of a job before RunComfy has it, and while nobody knows whether it has."""

    def __init__(self, hands: Hands, recorder: Recorder) -> None:
        """At most `submits_at_once` paid calls of this process are under way at any time."""
        self._hands = hands
        self._recorder = recorder
        self._policy = hands.rules.policy
        self._submits = asyncio.Semaphore(self._policy.submits_at_once)
        self._queued = 0

    async def submit(self, job: Job) -> Job | None:
        """Send a queued job, unless too many are before it or it may not leave now."""
        if self._queued >= self._policy.submits_queued:
            later = self._hands.clock.now() + SUBMIT_ROOM
            await self._hands.jobs.put_off(job, later)
            return None
        self._queued += 1
        try:
            return await self._submit_in_turn(job)
        finally:
            self._queued -= 1

    async def _submit_in_turn(self, job: Job) -> Job | None:
        # The wait for a place comes first: the gate may close, and time run out, while it lasts.
        async with self._submits:
            overdue = submitting.start_overdue(job, self._hands.clock.now())
            if overdue is not None:
                return await self._recorder.take(job, overdue)
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
            held = await self._recorder.take(job, claim)
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
            stored = await self._recorder.take(job, move)
            if stored is not None:
                return stored
            record = await self._hands.jobs.load(job.id)
            if record is None:
                self._trouble(job, "job_record_missing", _upstream_id(answer))
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

    async def declare_lost(self, job: Job) -> Job | None:
        """Reached only when nobody renewed the lease of a submit: its worker died."""
        doubt = await self._doubt_policy(job)
        lost = submitting.lease_lost(job, doubt, self._hands.clock.now(), self._hands.rules)
        return await self._recorder.take(job, lost)

    async def end_doubt(self, job: Job) -> Job | None:
        """The hold ran out."""
        doubt = await self._doubt_policy(job)
        overdue = submitting.doubt_overdue(job, doubt, self._hands.clock.now())
        return await self._recorder.take(job, overdue)

    async def _doubt_policy(self, job: Job) -> DoubtPolicy:
        tenant = await self._hands.tenants.load(job.tenant)
        own = tenant.doubt if tenant is not None else None
        return own or self._policy.doubt

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
        self._hands.emit(
            OperationalWarning(code=code, detail=f"upstream id {upstream_id}", job_id=job.id)
        )


def _upstream_id(answer: SubmitAnswer) -> str | None:
    return answer.upstream_id if isinstance(answer, Accepted) else None


def _same_submit(one: Job, other: Job) -> bool:
    """Whether two records of a job speak of one submit; each claim makes another."""
    return (one.holder, one.sent_at, one.attempts) == (other.holder, other.sent_at, other.attempts)
