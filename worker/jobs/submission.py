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
from worker.jobs import job_events
from worker.jobs.decisions import after_end, submit
from worker.jobs.decisions.transition import Transition
from worker.jobs.job_writer import JobDependencies, JobWriter
from worker.ports import Accepted, Indeterminate, NotSent, SubmitAnswer, UpstreamFault

STORE_RETRY_DELAY: Final = timedelta(milliseconds=500)
SUBMIT_QUEUE_FULL_DELAY: Final = timedelta(seconds=1)
"""When a job is looked at again that found too many others before it at this worker."""


class JobSubmitter:
    """The steps of a job before RunComfy has it, and while nobody knows whether it has."""

    def __init__(self, deps: JobDependencies, writer: JobWriter) -> None:
        """At most `max_concurrent_submits` paid calls of this process are under way at any time."""
        self._deps = deps
        self._writer = writer
        self._policy = deps.decision_context.policy
        self._submit_slots = asyncio.Semaphore(self._policy.max_concurrent_submits)
        self._queued = 0

    async def submit(self, job: Job) -> Job | None:
        """Send a queued job, unless too many are before it or it may not leave now."""
        if self._queued >= self._policy.max_pending_submits:
            later = self._deps.clock.now() + SUBMIT_QUEUE_FULL_DELAY
            await self._deps.jobs.reschedule(job, later)
            return None
        self._queued += 1
        try:
            return await self._wait_and_submit(job)
        finally:
            self._queued -= 1

    async def _wait_and_submit(self, job: Job) -> Job | None:
        # The wait for a place comes first: the gate may close, and time run out, while it lasts.
        async with self._submit_slots:
            overdue = submit.end_before_submit(job, self._deps.clock.now())
            if overdue is not None:
                return await self._writer.apply(job, overdue)
            # Asked for together: one round trip of the store's.
            closed_until, body = await asyncio.gather(
                self._deps.submit_gate.blocked_until(), self._deps.jobs.load_input(job.id)
            )
            if closed_until is None:
                return await self._submit_once(job, body)
            limit = submit.submit_deadline(job) or closed_until
            await self._deps.jobs.reschedule(job, min(closed_until, limit))
            return None

    async def _submit_once(self, job: Job, body: bytes | None) -> Job | None:
        if body is None:
            return None
        now = self._deps.clock.now()
        claim = submit.claim_submit(job, self._deps.worker_id, now, self._deps.decision_context)
        try:
            held = await self._writer.apply(job, claim)
        except StoreSilent:
            return await self._release_claim(claim.after)
        if held is None:
            return None
        async with self._hold_lease(held):
            answer = await self._deps.upstream.submit(held.model_id, body)
            self._deps.emit(job_events.submit_answered_event(held, answer))
            following, _ = await asyncio.gather(
                self._record_answer(held, answer), self._record_gate_result(answer)
            )
        return following

    async def _record_gate_result(self, answer: SubmitAnswer) -> None:
        with suppress(StoreUnavailable):
            await self._deps.submit_gate.record_result(answer)

    async def _release_claim(self, claim: Job) -> Job | None:
        """Whether the claim was written is unknown, but nothing was sent: take it back."""
        never = NotSent(UpstreamFault("store_silent", "The store fell silent before the submit."))
        while True:
            try:
                record = await self._deps.jobs.load(claim.id)
                if record is None or not _is_same_submit(record.job, claim):
                    return None
                return await self._apply_answer(record.job, never)
            except StoreUnavailable:
                await self._deps.clock.sleep(STORE_RETRY_DELAY)

    async def _record_answer(self, job: Job, answer: SubmitAnswer) -> Job | None:
        """Store a submit's answer, however long that takes: it is the only trace of money spent."""
        while True:
            try:
                return await self._apply_answer(job, answer)
            except StoreUnavailable:
                await self._deps.clock.sleep(STORE_RETRY_DELAY)

    async def _apply_answer(self, job: Job, answer: SubmitAnswer) -> Job | None:
        """Against the record as it stands: the job's lease may have been lost on the way."""
        held = job
        while True:
            move = await self._decide(held, job, answer)
            if move is None:
                return None
            stored = await self._writer.apply(job, move)
            if stored is not None:
                return stored
            record = await self._deps.jobs.load(job.id)
            if record is None:
                self._warn(job, "job_record_missing", _upstream_id(answer))
                return None
            job = record.job

    async def _decide(self, held: Job, job: Job, answer: SubmitAnswer) -> Transition | None:
        """What the answer to the submit of `held` means for the record as it stands.

        Only an acceptance counts beyond its own submit: another answer says nothing of a resend.
        """
        now = self._deps.clock.now()
        concerned = isinstance(answer, Accepted) or _is_same_submit(held, job)
        if concerned and job.can(job_events.SUBMIT_TRIGGERS[type(answer)]):
            doubt = self._policy.doubt_policy
            if isinstance(answer, Indeterminate):
                doubt = await self._doubt_policy(job)
            return submit.decide_submit(job, answer, doubt, now, self._deps.decision_context)
        upstream_id = _upstream_id(answer)
        if upstream_id is None or upstream_id == job.upstream_id:
            return None
        self._warn(job, "second_acceptance", upstream_id)
        return after_end.record_second_acceptance(job, upstream_id, now)

    async def declare_lost(self, job: Job) -> Job | None:
        """Reached only when nobody renewed the lease of a submit: its worker died."""
        doubt = await self._doubt_policy(job)
        lost = submit.mark_lease_lost(
            job, doubt, self._deps.clock.now(), self._deps.decision_context
        )
        return await self._writer.apply(job, lost)

    async def expire_doubt_hold(self, job: Job) -> Job | None:
        """The hold ran out."""
        doubt = await self._doubt_policy(job)
        overdue = submit.decide_expired_hold(job, doubt, self._deps.clock.now())
        return await self._writer.apply(job, overdue)

    async def _doubt_policy(self, job: Job) -> DoubtPolicy:
        tenant = await self._deps.tenants.load(job.tenant)
        own = tenant.doubt if tenant is not None else None
        return own or self._policy.doubt_policy

    @asynccontextmanager
    async def _hold_lease(self, job: Job) -> AsyncIterator[None]:
        """While the body runs, the job stays ours: the lease is renewed until it ends."""
        renewing = asyncio.create_task(self._renew_lease_forever(job))
        try:
            yield
        finally:
            renewing.cancel()

    async def _renew_lease_forever(self, held: Job) -> None:
        job, pause = held, self._policy.renew_interval
        while True:
            await self._deps.clock.sleep(pause)
            try:
                renewed = await self._renew_lease_once(job)
            except StoreUnavailable:
                pause = STORE_RETRY_DELAY
                continue
            if renewed is None:
                return
            job, pause = renewed, self._policy.renew_interval

    async def _renew_lease_once(self, job: Job) -> Job | None:
        """The record whose lease was renewed; None when the submit is not ours any more.

        A wish to cancel makes a new version of it, and must not cost the lease.
        """
        until = self._deps.clock.now() + self._policy.lease
        if await self._deps.jobs.reschedule(job, until):
            return job
        record = await self._deps.jobs.load(job.id)
        if record is None or not _is_same_submit(record.job, job):
            return None
        if record.job.state is not JobState.SUBMITTING:
            return None
        await self._deps.jobs.reschedule(record.job, until)
        return record.job

    def _warn(self, job: Job, code: str, upstream_id: str | None) -> None:
        self._deps.emit(
            OperationalWarning(code=code, detail=f"upstream id {upstream_id}", job_id=job.id)
        )


def _upstream_id(answer: SubmitAnswer) -> str | None:
    return answer.upstream_id if isinstance(answer, Accepted) else None


def _is_same_submit(one: Job, other: Job) -> bool:
    """Whether two records of a job speak of one submit; each claim makes another."""
    return (one.lease_holder, one.sent_at, one.attempts) == (
        other.lease_holder,
        other.sent_at,
        other.attempts,
    )
