"""Applies the answer to a submit to the job's record, whatever became of that meanwhile."""

from typing import Final

from core.clock import Clock
from core.jobs.job import Job, JobState, Trigger
from core.observability.events import OperationalWarning
from core.store.stores import Stores
from core.tenants.tenant import DoubtPolicy
from core.transactions.job_update import Change
from worker.jobs.decisions import after_end, submit
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_writer import JobWriter
from worker.ports import Accepted, Indeterminate, NotSent, SubmitAnswer, UpstreamFault

_REPEATED: Final = "journal_entry"


class AnswerWriter:
    """Decides what an answer means for the current record, and writes that."""

    def __init__(
        self, stores: Stores, writer: JobWriter, clock: Clock, context: DecisionContext
    ) -> None:
        """Nothing is read yet."""
        self._jobs = stores.jobs
        self._tenants = stores.tenants
        self._writer = writer
        self._clock = clock
        self._context = context

    async def apply(self, submitted: Job, answer: SubmitAnswer) -> Job | None:
        """Apply the answer to the job's current record: the lease may have been lost meanwhile."""
        job = submitted
        while True:
            change = await self.decide(submitted, job, answer)
            if change is None:
                return None
            stored = await self._writer.apply(change)
            if stored is not None:
                return stored
            record = await self._jobs.load(job.id)
            if record is None:
                self._warn(job, "job_record_missing", accepted_id_of(answer))
                return None
            job = record.job

    async def decide(self, submitted: Job, job: Job, answer: SubmitAnswer) -> Change | None:
        """Decide what the answer to the submit of `submitted` means for `job`, the current record.

        Only an acceptance counts beyond its own submit; other answers mean nothing for a resend.
        """
        is_relevant = isinstance(answer, Accepted) or (
            job.state is not JobState.QUEUED and is_same_submit(submitted, job)
        )
        if is_relevant and job.can(submit.SUBMIT_TRIGGERS[type(answer)]):
            policy = self._context.policy.doubt_policy
            if isinstance(answer, Indeterminate):
                policy = await self.doubt_policy(job)
            return submit.decide_submit(job, answer, policy, self._clock.now(), self._context)
        upstream_id = accepted_id_of(answer)
        if upstream_id is None or upstream_id == job.upstream_id:
            return None
        self._warn(job, "second_acceptance", upstream_id)
        return after_end.record_second_acceptance(job, upstream_id, self._clock.now())

    async def record_unanswered(self, job: Job, fault: UpstreamFault) -> Job | None:
        """Record a submit that may have been paid for, and of which the record does not know."""
        now = self._clock.now()
        if not job.can(Trigger.NO_ANSWER):
            return await self._writer.apply(after_end.record_unanswered_submit(job, fault, now))
        policy = await self.doubt_policy(job)
        return await self._writer.apply(
            submit.mark_in_doubt(job, fault, policy, now, self._context)
        )

    async def end_repetition(self, job: Job, first: str) -> Job | None:
        """End a job that was not sent, and whose request is the earlier job `first`.

        Returns None if it has changed, or was being claimed: then it has to be ended again.
        """
        if job.state is JobState.SUBMITTING:
            await self.apply(job, NotSent(UpstreamFault(_REPEATED, f"It is {first} already.")))
            return None
        return await self._writer.apply(submit.end_repetition(job, first, self._clock.now()))

    async def doubt_policy(self, job: Job) -> DoubtPolicy:
        """Return what the tenant, or else the operator, wants done with a submit in doubt."""
        tenant = await self._tenants.load(job.tenant)
        own = tenant.doubt if tenant is not None else None
        return own or self._context.policy.doubt_policy

    def _warn(self, job: Job, code: str, upstream_id: str | None) -> None:
        self._writer.emit(
            OperationalWarning(code=code, detail=f"upstream id {upstream_id}", job_id=job.id)
        )


def accepted_id_of(answer: SubmitAnswer) -> str | None:
    """Return RunComfy's id of an accepted submit."""
    return answer.upstream_id if isinstance(answer, Accepted) else None


def is_same_submit(one: Job, other: Job) -> bool:
    """Return whether two records of a job are of the same submit; each claim begins another."""
    return (one.lease_holder, one.sent_at, one.attempts) == (
        other.lease_holder,
        other.sent_at,
        other.attempts,
    )
