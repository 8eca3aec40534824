"""Advances a job by one step: call RunComfy, decide from its answer, write the change.

What an answer means is decided in `worker.jobs.decisions`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from core.clock import Clock
from core.deduplication.coalescing import (
    cancel_for_successor,
    expire_for_successor,
    handover,
    next_follower_poll_at,
)
from core.errors import StoreUnavailable
from core.jobs.job import CancelOutcome, FollowUp, Job, JobState
from core.observability.events import JobPolled, OperationalWarning
from core.store.stores import Stores
from core.transactions.job_update import Change, WriteResult
from worker.jobs.decisions import after_end, attach, fetch_result, follow_leader, poll, step_failure
from worker.jobs.decisions.transition import DecisionContext, Reschedule
from worker.jobs.job_writer import JobWriter
from worker.jobs.submission import JobSubmitter
from worker.ports import (
    Finished,
    InProgress,
    RequestNotFound,
    StatusAnswer,
    Upstream,
)

MAX_DETAIL_LENGTH: Final = 500
"""Of an exception's text in a job's timeline."""


class JobProcessor:
    """The steps of a job's life, one coroutine per state."""

    def __init__(
        self,
        stores: Stores,
        upstream: Upstream,
        submitter: JobSubmitter,
        writer: JobWriter,
        clock: Clock,
        context: DecisionContext,
    ) -> None:
        """Steps before RunComfy has the job are `submitter`'s, which bounds the paid calls."""
        self._jobs = stores.jobs
        self._submitter = submitter
        self._tenants = stores.tenants
        self._upstream = upstream
        self._writer = writer
        self._clock = clock
        self._context = context
        self._steps: Mapping[JobState, Callable[[Job], Awaitable[Job | None]]] = {
            JobState.QUEUED: submitter.submit,
            JobState.SUBMITTING: submitter.declare_lost,
            JobState.IN_DOUBT: self._resolve_doubt,
            JobState.RUNNING: self._poll,
            JobState.CANCELLING: self._cancel,
            JobState.COLLECTING: self._fetch_result,
            JobState.FOLLOWING: self._follow,
            JobState.SUCCEEDED: self._run_follow_up,
            JobState.FAILED: self._run_follow_up,
            JobState.CANCELLED: self._run_follow_up,
            JobState.EXPIRED: self._run_follow_up,
        }

    @property
    def states(self) -> Sequence[JobState]:
        """The states that have a step."""
        return tuple(self._steps)

    async def advance(self, job: Job) -> None:
        """Run a job's steps until it has to wait.

        Raises `StoreUnavailable`; the job runs again when its lease ends.
        """
        following: Job | None = job
        while following is not None:
            job = following
            following = await self._run_step(job)
            if following is not None and not self._runs_immediately(following):
                return

    async def _run_step(self, job: Job) -> Job | None:
        try:
            return await self._steps[job.state](job)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one job's data must end that job only
            detail = f"{type(error).__name__}: {error}"
            self._writer.emit(OperationalWarning("job_step_failed", detail, job.id, error))
            failed = step_failure.decide_step_failure(
                job, detail[:MAX_DETAIL_LENGTH], self._clock.now(), self._context
            )
            await self._writer.write(failed)
            return None

    def _runs_immediately(self, job: Job) -> bool:
        """Return whether the next step follows now: a result to fetch, or a time that has come."""
        if job.state is JobState.COLLECTING:
            return job.upstream_error is None
        return job.next_run_at is not None and job.next_run_at <= self._clock.now()

    async def _resolve_doubt(self, job: Job) -> Job | None:
        """Ask RunComfy for the id that an operator named; else hold the job, or end its hold."""
        upstream_id = job.attach_id
        if upstream_id is None and job.in_doubt_since is None:
            return await self._writer.apply(
                attach.hold_again(job, self._clock.now(), self._context)
            )
        if upstream_id is None:
            return await self._submitter.expire_doubt_hold(job)
        answer = await self._get_status(job, upstream_id)
        now = self._clock.now()
        decision = attach.decide_attach(job, upstream_id, answer, now, self._context)
        if isinstance(decision, Reschedule):
            return await self._writer.apply(decision)
        result = await self._writer.write(decision)
        if result is WriteResult.UPSTREAM_ID_TAKEN:
            reason = f"{upstream_id} is, or was, another job's."
            await self._writer.write(attach.refuse_attach(job, reason, now, self._context))
        return decision.after if result is WriteResult.STORED else None

    async def _poll(self, job: Job) -> Job | None:
        now = self._clock.now()
        if job.cancel_outcome is CancelOutcome.REQUESTED:
            forwarded = poll.forward_cancel(job, now)
            return await self._apply_unless_followed(forwarded, cancel_for_successor)
        answer = await self._get_status(job)
        # What has finished is a success, even if it is noticed after the deadline.
        if _is_overdue(job, now) and not isinstance(answer, Finished):
            return await self._expire(job)
        decision = poll.decide_poll(job, answer, self._clock.now(), self._context)
        return await self._writer.apply(decision)

    async def _get_status(self, job: Job, upstream_id: str | None = None) -> StatusAnswer:
        """Poll the job's id, or the one that an operator named."""
        answer = await self._upstream.get_status(upstream_id or _require_upstream_id(job))
        self._writer.emit(
            JobPolled(job.id, job.tenant, job.model_id, _upstream_status_label(answer))
        )
        return answer

    async def _expire(self, job: Job) -> Job | None:
        """Cancel the run at RunComfy, unless other jobs wait for its result."""
        if await self._jobs.load_successor(job.id) is not None:
            return await self._hand_over(job, expire_for_successor)
        answer = await self._upstream.cancel(_require_upstream_id(job))
        expired = poll.expire_running(job, self._clock.now(), answer)
        return await self._apply_unless_followed(expired, expire_for_successor)

    async def _cancel(self, job: Job) -> Job | None:
        answer = await self._upstream.cancel(_require_upstream_id(job))
        now = self._clock.now()
        # The end may have come before the cancel, and the cancel call may fail for ever.
        is_answered = isinstance(answer, CancelOutcome)
        is_late = _is_overdue(job, now) and answer is CancelOutcome.NOT_CANCELLABLE
        if not is_answered or is_late:
            status = await self._get_status(job)
            if isinstance(status, Finished):
                return await self._writer.apply(poll.decide_poll(job, status, now, self._context))
        if _is_overdue(job, now) and answer is not CancelOutcome.CANCELLED:
            return await self._writer.apply(poll.expire_running(job, now, answer))
        return await self._writer.apply(poll.decide_cancel(job, answer, now, self._context))

    async def _fetch_result(self, job: Job) -> Job | None:
        answer = await self._upstream.get_result(_require_upstream_id(job))
        decision = fetch_result.decide_result(job, answer, self._clock.now(), self._context)
        return await self._writer.apply(decision)

    async def _run_follow_up(self, job: Job) -> Job | None:
        if job.follow_up is FollowUp.NOTIFY:
            await self._writer.apply(after_end.finish_notification(job, self._clock.now()))
        elif job.follow_up is not None and job.upstream_id is not None:
            answer = await self._upstream.get_result(job.upstream_id)
            decide = _FOLLOW_UPS[job.follow_up]
            await self._writer.apply(decide(job, answer, self._clock.now(), self._context))
        return None

    async def _follow(self, job: Job) -> Job | None:
        # Rescheduled before the leader is read: a wake-up that comes meanwhile sets an earlier
        # time, which this must not overwrite.
        await self._jobs.reschedule(job, next_follower_poll_at(job, self._clock.now()))
        leader = await self._jobs.load_leader(job)
        is_over = leader is not None and leader.job.is_final
        promote = is_over and await self._allows_promotion(job)
        decision = follow_leader.decide_follow(job, leader, self._clock.now(), promote=promote)
        if isinstance(decision, Reschedule):
            return None
        if await self._writer.write(decision) is WriteResult.OVER_BUDGET:
            await self._writer.write(follow_leader.fail_over_budget(job, self._clock.now()))
        return None

    async def _allows_promotion(self, job: Job) -> bool:
        tenant = await self._tenants.load(job.tenant)
        return tenant is not None and tenant.cache_policy.promote

    async def _apply_unless_followed(
        self, change: Change, for_successor: Callable[[Job, datetime], Job]
    ) -> Job | None:
        """Write a change that ends running work, or hand that work over to a follower."""
        result = await self._writer.write(change)
        if result is WriteResult.HAS_FOLLOWERS:
            return await self._hand_over(change.before, for_successor)
        return change.after if result is WriteResult.STORED else None

    async def _hand_over(
        self, job: Job, for_successor: Callable[[Job, datetime], Job]
    ) -> Job | None:
        """Hand the work over. If another writer came first, the job runs again after its lease."""
        successor, now = await self._jobs.load_successor(job.id), self._clock.now()
        if successor is None:
            await self._jobs.reschedule(job, now)
        else:
            await self._writer.write(handover(job, for_successor(job, now), successor, now))
        return None


_FOLLOW_UPS: Final = {
    FollowUp.READ_COST: after_end.decide_cost_read,
    FollowUp.AWAIT_LATE_RESULT: after_end.decide_late_result,
}


def _is_overdue(job: Job, now: datetime) -> bool:
    return job.deadline is not None and now >= job.deadline


def _require_upstream_id(job: Job) -> str:
    """The state table lets no job run without RunComfy's id."""
    if job.upstream_id is None:
        raise ValueError(f"job {job.id} runs without an upstream id")
    return job.upstream_id


def _upstream_status_label(answer: StatusAnswer) -> str:
    match answer:
        case InProgress(is_running):
            return "running" if is_running else "queued"
        case Finished():
            return "ended"
        case RequestNotFound():
            return "not_found"
        case _:
            return "unreachable"
