"""Takes a job one step on: act, learn, decide, store, tell.

Knows the steps; knows no RunComfy wire, no Redis, no arq. What an answer means is the affair of
`worker.decisions`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from core.deduplication.coalescing import cancelled_for_heir, expired_for_heir, handover, next_check
from core.jobs.job import CancelOutcome, Errand, Job, JobState
from core.transactions.job_update import Outcome
from worker.jobs import job_events as telling
from worker.jobs.decisions import (
    after_end as afterwards,
)
from worker.jobs.decisions import (
    fetch_result as collecting,
)
from worker.jobs.decisions import (
    follow_leader as following,
)
from worker.jobs.decisions import (
    poll as running,
)
from worker.jobs.decisions.transition import Move, Wait
from worker.jobs.job_writer import Hands, Recorder
from worker.jobs.submission import Submission
from worker.ports import CancelDone


class Lifecycle:
    """The steps of a job's life, one coroutine per state."""

    def __init__(self, hands: Hands) -> None:
        """Nothing is under way yet. See `worker.jobs.submission` for what bounds paid calls."""
        self._hands = hands
        self._recorder = Recorder(hands)
        self._submission = Submission(hands, self._recorder)
        self._steps: Mapping[JobState, Callable[[Job], Awaitable[Job | None]]] = {
            JobState.QUEUED: self._submission.submit,
            JobState.SUBMITTING: self._submission.declare_lost,
            JobState.IN_DOUBT: self._submission.end_doubt,
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
        return await self._recorder.take(job, decided)

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
            return await self._recorder.take(job, running.run_overdue(job, now, answer))
        decided = running.cancel_answered(job, answer, now, self._hands.rules)
        return await self._recorder.take(job, decided)

    async def _collect(self, job: Job) -> Job | None:
        answer = await self._hands.upstream.result(_known_id(job))
        decided = collecting.collected(job, answer, self._hands.clock.now(), self._hands.rules)
        return await self._recorder.take(job, decided)

    async def _errand(self, job: Job) -> Job | None:
        if job.errand is Errand.NOTIFY:
            await self._recorder.take(job, afterwards.notified(job, self._hands.clock.now()))
            return None
        if job.errand is None or job.upstream_id is None:
            return None
        answer = await self._hands.upstream.result(job.upstream_id)
        now, decide = self._hands.clock.now(), _ERRANDS[job.errand]
        await self._recorder.take(job, decide(job, answer, now, self._hands.rules))
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
        if await self._recorder.move(job, decided) is Outcome.OVER_BUDGET:
            await self._recorder.move(job, following.over_budget(job, self._hands.clock.now()))
        return None

    async def _promotes(self, job: Job) -> bool:
        tenant = await self._hands.tenants.load(job.tenant)
        return tenant is not None and tenant.reuse.promote

    async def _take_unless_wanted(
        self, job: Job, move: Move, for_heir: Callable[[Job, datetime], Job]
    ) -> Job | None:
        """Make a move true that ends running work, or hand that on to who still wants it."""
        outcome = await self._recorder.move(job, move)
        if outcome is Outcome.WANTED:
            return await self._hand_on(job, for_heir)
        return move.after if outcome is Outcome.STORED else None

    async def _hand_on(self, job: Job, for_heir: Callable[[Job, datetime], Job]) -> Job | None:
        """Somebody who was first at the job or at its heir is waited out: the lease runs on."""
        heir, now = await self._hands.jobs.heir(job.id), self._hands.clock.now()
        if heir is None:
            await self._hands.jobs.put_off(job, now)
            return None
        await self._recorder.hand_over(handover(job, for_heir(job, now), heir, now))
        return None


_ERRANDS: Final = {
    Errand.READ_COST: afterwards.cost_read,
    Errand.AWAIT_LATE_RESULT: afterwards.late_result,
}


def _known_id(job: Job) -> str:
    """The table lets no job run without RunComfy's id."""
    if job.upstream_id is None:
        raise ValueError(f"job {job.id} runs without an upstream id")
    return job.upstream_id
