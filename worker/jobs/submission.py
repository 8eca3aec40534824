"""Sends the one paid call of a job, and records its answer or that there was none.

What an answer means is decided in `worker.jobs.decisions.submit`.
"""

import asyncio
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta
from typing import Final

from core.errors import (
    ObjectMissing,
    ObjectsUnavailable,
    StoreTimeout,
    StoreUnavailable,
    Unavailable,
)
from core.jobs.input_parts import first_source
from core.jobs.job import Job
from core.jobs.submission import Submission
from core.journal.objects import JournalUnavailable
from core.observability.events import OperationalWarning, SubmitAnswered
from core.store.stores import Stores
from worker.jobs.answer_writer import AnswerWriter, accepted_id_of, is_same_submit
from worker.jobs.decisions import submit
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.input_assembly import InputAssembler
from worker.jobs.job_lease import STORE_RETRY_DELAY, JobLease
from worker.jobs.job_writer import JobWriter
from worker.jobs.paid_submit import JOURNAL_CHECK_DELAY, PaidSubmitter
from worker.jobs.source_fetching import STORAGE_RETRY_DELAY, SourceFetcher
from worker.ports import (
    Accepted,
    NotSent,
    Rejected,
    SubmitAnswer,
    SubmitGate,
    UpstreamFault,
)

SUBMIT_QUEUE_FULL_DELAY: Final = timedelta(seconds=1)
"""When a job runs again that found too many submits queued in this worker."""
_FILE_LOST: Final = UpstreamFault(
    "input_lost", "A file that the input names is no longer stored; nothing was sent."
)


class JobSubmitter:
    """The steps of a job that RunComfy does not have yet, or for which that is in doubt."""

    def __init__(
        self,
        stores: Stores,
        paid: PaidSubmitter,
        gate: SubmitGate,
        writer: JobWriter,
        context: DecisionContext,
        inputs: InputAssembler,
    ) -> None:
        """At most `max_concurrent_submits` paid calls of this process are in flight."""
        self._jobs = stores.jobs
        self._paid = paid
        self._inputs = inputs
        self._gate = gate
        self._writer = writer
        self._clock = writer.clock
        self._answers = AnswerWriter(stores, writer, self._clock, context)
        self._context = context
        self._policy = context.policy
        self._submit_slots = asyncio.Semaphore(self._policy.max_concurrent_submits)
        # A storage that hangs must not hold the slots that other jobs need.
        self._file_slots = asyncio.Semaphore(max(1, self._policy.max_concurrent_submits // 2))
        self._pending = 0
        self._lease = JobLease(stores.jobs, writer.clock, context.policy)
        self._sources = SourceFetcher(stores, inputs.sources, writer, context)

    async def submit(self, job: Job) -> Job | None:
        """Send a queued job, or reschedule it if it may not be sent now.

        First its private sources are fetched: no submit waits for them.
        """
        if first_source(job.input_parts) is not None:
            return await self._sources.fetch(job)
        if self._pending >= self._policy.max_pending_submits:
            await self._jobs.reschedule(job, self._clock.now() + SUBMIT_QUEUE_FULL_DELAY)
            return None
        self._pending += 1
        try:
            # Wait for the slot before anything is checked: the gate may close, and the job's time
            # run out, during the wait.
            async with self._file_slots if job.input_parts else nullcontext(), self._submit_slots:
                return await self._submit_unless_blocked(job)
        finally:
            self._pending -= 1

    async def _submit_unless_blocked(self, job: Job) -> Job | None:
        ended = submit.end_before_submit(job, self._clock.now())
        if ended is not None:
            return await self._writer.apply(ended)
        held = submit.hold(job, self._clock.now())
        if held is not None:
            await self._writer.apply(held)
            return None
        if self._paid.is_blocked:
            await self._wait_until(job, self._clock.now() + JOURNAL_CHECK_DELAY)
            return None
        # Sent together, the two reads cost one round trip.
        block, submission = await asyncio.gather(
            self._gate.find_block(job), self._jobs.load_submission(job)
        )
        if block is not None:
            await self._writer.apply(submit.wait(job, block, self._clock.now()))
            return None
        if job.waiting_for is not None:
            await self._writer.apply(submit.stop_waiting(job, self._clock.now()))
            return None
        return None if submission is None else await self._assemble_and_send(job, submission)

    async def _assemble_and_send(self, job: Job, submission: Submission) -> Job | None:
        try:
            body = await self._inputs.assemble(job, submission.input)
        except ObjectsUnavailable as error:
            detail = error.operator_detail
            self._writer.emit(OperationalWarning("input_files_unavailable", detail, job.id))
            await self._wait_until(job, self._clock.now() + STORAGE_RETRY_DELAY)
            return None
        except ObjectMissing:
            body = None
        return await self._claim_and_send(job, submission, body)

    async def _wait_until(self, job: Job, blocked_until: datetime) -> None:
        deadline = submit.submit_deadline(job) or blocked_until
        await self._jobs.reschedule(job, min(blocked_until, deadline))

    async def _claim_and_send(
        self, job: Job, submission: Submission, body: bytes | None
    ) -> Job | None:
        """Send a submit with this body; None: a file is gone, and the job fails unsent."""
        claim = submit.claim_submit(job, self._clock.now(), self._context)
        try:
            claimed = await self._writer.apply(claim)
        except StoreTimeout:
            return await self._release_claim(claim.after)
        if claimed is None:
            return None
        if body is None:
            return await self._record_answer(claimed, Rejected(_FILE_LOST))
        async with self._lease.hold(claimed):
            sent = await self._paid.send(claimed, submission, body)
            if sent.is_replayed:
                return await self._record_answer(claimed, sent.answer)
            self._writer.emit(_submit_answered_event(claimed, sent.answer))
            following, *_ = await asyncio.gather(
                self._record_answer(claimed, sent.answer),
                self._record_gate_answer(claimed, sent.answer),
                self._paid.record(claimed, sent),
            )
        if following is None and isinstance(sent.answer, Accepted):
            await self._report_if_missing(claimed)
        return following

    async def _report_if_missing(self, claimed: Job) -> None:
        """Have the job rebuilt from the journal if the store lost it meanwhile."""
        while True:
            try:
                if await self._jobs.load(claimed.id) is None:
                    await self._paid.report_missing(claimed)
            except Unavailable:
                await self._clock.sleep(STORE_RETRY_DELAY)
            else:
                return

    async def _record_gate_answer(self, job: Job, answer: SubmitAnswer) -> None:
        with suppress(StoreUnavailable):
            await self._gate.record_answer(job, answer)

    async def _release_claim(self, claimed: Job) -> Job | None:
        """Undo a claim that may have been stored or not: nothing has been sent."""
        fault = UpstreamFault("store_silent", "Redis did not answer the claim; nothing was sent.")
        while True:
            try:
                record = await self._jobs.load(claimed.id)
                if record is None or not is_same_submit(record.job, claimed):
                    return None
                return await self._answers.apply(record.job, NotSent(fault))
            except Unavailable:
                await self._clock.sleep(STORE_RETRY_DELAY)

    async def _record_answer(self, job: Job, answer: SubmitAnswer) -> Job | None:
        """Store a submit's answer, however long that takes: it is the only trace of money spent."""
        while True:
            try:
                return await self._answers.apply(job, answer)
            except Unavailable:
                await self._clock.sleep(STORE_RETRY_DELAY)

    async def declare_lost(self, job: Job) -> Job | None:
        """Decide for a submit whose lease ran out, from the journal: its worker has died."""
        try:
            answer = await self._paid.find_answer(job)
        except JournalUnavailable:
            await self._jobs.reschedule(job, self._clock.now() + JOURNAL_CHECK_DELAY)
            return None
        change = await self._answers.decide(job, job, answer)
        return None if change is None else await self._writer.apply(change)

    async def expire_doubt_hold(self, job: Job) -> Job | None:
        """Apply the doubt policy to a job that no operator resolved in time.

        A job that was queued may get its slot, and with it a message, while it is in doubt.

        The journal may have the answer: the store forgets one if it goes back.
        """
        try:
            answer = await self._paid.find_answer(job)
        except JournalUnavailable:
            await self._jobs.reschedule(job, self._clock.now() + JOURNAL_CHECK_DELAY)
            return None
        if isinstance(answer, Accepted):
            return await self._answers.apply(job, answer)
        if job.next_run_at is not None and self._clock.now() < job.next_run_at:
            await self._jobs.reschedule(job, job.next_run_at)
            return None
        policy = await self._answers.doubt_policy(job)
        return await self._writer.apply(submit.decide_expired_hold(job, policy, self._clock.now()))


def _submit_answered_event(job: Job, answer: SubmitAnswer) -> SubmitAnswered:
    fault = None if isinstance(answer, Accepted) else answer.fault
    return SubmitAnswered(
        job_id=job.id,
        tenant=job.tenant,
        model_id=job.model_id,
        outcome=submit.SUBMIT_TRIGGERS[type(answer)],
        upstream_id=accepted_id_of(answer),
        detail=None if fault is None else f"{fault.kind}: {fault.message}",
    )
