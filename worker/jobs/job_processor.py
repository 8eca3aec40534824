"""Takes a job one step on: act, learn, decide, store, tell.

Knows the steps; knows no RunComfy wire, no Redis, no arq. What an answer means is the affair of
`worker.decisions`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from core.deduplication.coalescing import (
    cancel_for_successor,
    expire_for_successor,
    handover,
    next_follower_poll_at,
)
from core.jobs.job import CancelOutcome, FollowUp, Job, JobState
from core.transactions.job_update import WriteResult
from worker.jobs import job_events
from worker.jobs.decisions import (
    after_end,
    fetch_result,
    follow_leader,
    poll,
)
from worker.jobs.decisions.transition import Reschedule, Transition
from worker.jobs.job_writer import JobDependencies, JobWriter
from worker.jobs.submission import JobSubmitter
from worker.ports import CancelSucceeded


class JobProcessor:
    """The steps of a job's life, one coroutine per state."""

    def __init__(self, deps: JobDependencies) -> None:
        """Nothing is under way yet. See `worker.jobs.submission` for what bounds paid calls."""
        self._deps = deps
        self._writer = JobWriter(deps)
        self._submitter = JobSubmitter(deps, self._writer)
        self._steps: Mapping[JobState, Callable[[Job], Awaitable[Job | None]]] = {
            JobState.QUEUED: self._submitter.submit,
            JobState.SUBMITTING: self._submitter.declare_lost,
            JobState.IN_DOUBT: self._submitter.expire_doubt_hold,
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
        """Take a job on until it has to wait.

        Raises `StoreUnavailable`; its lease then runs out.
        """
        following: Job | None = job
        while following is not None:
            job = following
            following = await self._steps[job.state](job)
            if following is not None and not self._runs_immediately(following):
                return

    def _runs_immediately(self, job: Job) -> bool:
        """Whether the next step follows at once: a result to fetch, or a time that has come."""
        if job.state is JobState.COLLECTING:
            return job.upstream_error is None
        return job.next_run_at is not None and job.next_run_at <= self._deps.clock.now()

    # Running

    async def _poll(self, job: Job) -> Job | None:
        upstream_id, now = _require_upstream_id(job), self._deps.clock.now()
        if job.cancel_outcome is CancelOutcome.REQUESTED:
            passed_on = poll.forward_cancel(job, now)
            return await self._apply_unless_followed(job, passed_on, cancel_for_successor)
        if job.deadline is not None and now >= job.deadline:
            return await self._expire(job)
        answer = await self._deps.upstream.get_status(upstream_id)
        self._deps.emit(job_events.job_polled_event(job, answer))
        decided = poll.decide_poll(job, answer, self._deps.clock.now(), self._deps.decision_context)
        return await self._writer.apply(job, decided)

    async def _expire(self, job: Job) -> Job | None:
        """RunComfy is asked to cancel, unless others wait for what it is doing."""
        if await self._deps.jobs.load_successor(job.id) is not None:
            return await self._hand_over(job, expire_for_successor)
        asked = await self._deps.upstream.cancel(_require_upstream_id(job))
        overdue = poll.expire_running(job, self._deps.clock.now(), asked)
        return await self._apply_unless_followed(job, overdue, expire_for_successor)

    async def _cancel(self, job: Job) -> Job | None:
        answer = await self._deps.upstream.cancel(_require_upstream_id(job))
        now = self._deps.clock.now()
        overdue = job.deadline is not None and now >= job.deadline
        if overdue and not isinstance(answer, CancelSucceeded):
            return await self._writer.apply(job, poll.expire_running(job, now, answer))
        decided = poll.decide_cancel(job, answer, now, self._deps.decision_context)
        return await self._writer.apply(job, decided)

    async def _fetch_result(self, job: Job) -> Job | None:
        answer = await self._deps.upstream.get_result(_require_upstream_id(job))
        decided = fetch_result.decide_result(
            job, answer, self._deps.clock.now(), self._deps.decision_context
        )
        return await self._writer.apply(job, decided)

    async def _run_follow_up(self, job: Job) -> Job | None:
        if job.follow_up is FollowUp.NOTIFY:
            await self._writer.apply(
                job, after_end.finish_notification(job, self._deps.clock.now())
            )
            return None
        if job.follow_up is None or job.upstream_id is None:
            return None
        answer = await self._deps.upstream.get_result(job.upstream_id)
        now, decide = self._deps.clock.now(), _FOLLOW_UPS[job.follow_up]
        await self._writer.apply(job, decide(job, answer, now, self._deps.decision_context))
        return None

    # Sharing another job's work

    async def _follow(self, job: Job) -> Job | None:
        # The next look is set before this one: news that comes meanwhile must not be put off.
        await self._deps.jobs.reschedule(job, next_follower_poll_at(job, self._deps.clock.now()))
        leader = await self._deps.jobs.load_leader(job)
        promote = (
            await self._allows_promotion(job)
            if leader is not None and leader.job.is_final
            else False
        )
        decided = follow_leader.decide_follow(job, leader, self._deps.clock.now(), promote=promote)
        if isinstance(decided, Reschedule):
            return None
        if await self._writer.apply_transition(job, decided) is WriteResult.OVER_BUDGET:
            await self._writer.apply_transition(
                job, follow_leader.fail_over_budget(job, self._deps.clock.now())
            )
        return None

    async def _allows_promotion(self, job: Job) -> bool:
        tenant = await self._deps.tenants.load(job.tenant)
        return tenant is not None and tenant.cache_policy.promote

    async def _apply_unless_followed(
        self, job: Job, transition: Transition, for_successor: Callable[[Job, datetime], Job]
    ) -> Job | None:
        """Make a move true that ends running work, or hand that on to who still wants it."""
        outcome = await self._writer.apply_transition(job, transition)
        if outcome is WriteResult.HAS_FOLLOWERS:
            return await self._hand_over(job, for_successor)
        return transition.after if outcome is WriteResult.STORED else None

    async def _hand_over(
        self, job: Job, for_successor: Callable[[Job, datetime], Job]
    ) -> Job | None:
        """Somebody who was first at the job or at its heir is waited out: the lease runs on."""
        heir, now = await self._deps.jobs.load_successor(job.id), self._deps.clock.now()
        if heir is None:
            await self._deps.jobs.reschedule(job, now)
            return None
        await self._writer.hand_over(handover(job, for_successor(job, now), heir, now))
        return None


_FOLLOW_UPS: Final = {
    FollowUp.READ_COST: after_end.decide_cost_read,
    FollowUp.AWAIT_LATE_RESULT: after_end.decide_late_result,
}


def _require_upstream_id(job: Job) -> str:
    """The table lets no job run without RunComfy's id."""
    if job.upstream_id is None:
        raise ValueError(f"job {job.id} runs without an upstream id")
    return job.upstream_id
