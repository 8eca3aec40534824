"""What tests of reuse do in few words: ask for the same, take the paid job on, let followers look.

A follower's look is the worker's own decision, stored as the worker stores it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from core.deduplication.coalescing import cancel_for_successor, expire_for_successor, handover
from core.jobs.job import BillingStatus, FollowUp, Job, JobError, JobState, Trigger
from core.money import MicroUsd
from core.store import keys
from core.store.jobs import JobStore
from core.transactions.admission import CacheRequest
from core.transactions.job_update import Change, WriteResult
from service.jobs.cancel import decide_cancel
from tests.support.memory_store.jobs import MemoryJobStore
from worker.jobs.decisions.after_end import finish_notification
from worker.jobs.decisions.follow_leader import decide_follow, fail_over_budget

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from core.jobs.job import JobRecord
    from core.transactions.admission import AdmissionResult
    from tests.support.store_harness import StoreHarness

CACHE_REQUEST: Final = CacheRequest()
SECOND: Final = timedelta(seconds=1)
OUTPUT: Final = b'{"video":"https://media.test/1.mp4"}'
COST: Final = MicroUsd(1_000_000)
UPSTREAM_ERROR: Final = JobError("upstream_failed", "It broke.")


@dataclass(frozen=True, slots=True)
class CoalescingHarness:
    """One gateway's identical requests."""

    stores: StoreHarness
    deleted: list[str] = field(default_factory=list)
    """Records that went before their time: no recount knows of them."""

    async def submit(
        self,
        tenant: str = "ape",
        reuse: CacheRequest = CACHE_REQUEST,
        key: str | None = None,
        *,
        dry_run: bool = False,
        **changes: Any,  # noqa: ANN401 - fields of the record
    ) -> tuple[Job, AdmissionResult]:
        """A submit of the one input, and what became of it. The job is as the store has it."""
        job = self.stores.job(tenant, **changes)
        admitted = await self.stores.admit(job, cache=reuse, idempotency=key, dry_run=dry_run)
        return (admitted.record.job if admitted.record else job), admitted

    async def submit_job(self, tenant: str = "ape", **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """A submit's job."""
        return (await self.submit(tenant, **changes))[0]

    async def current(self, job: Job) -> Job:
        """The job as it stands."""
        return (await self.record(job)).job

    async def record(self, job: Job) -> JobRecord:
        """The job as it stands, with what is kept beside it."""
        record = await self.stores.jobs.load(job.id)
        assert record is not None
        return record

    async def apply_triggers(
        self,
        job: Job,
        *facts: Trigger,
        output: bytes | None = None,
        **more: Any,  # noqa: ANN401 - fields of the record
    ) -> Job:
        """The job after these facts, each stored; `more` and `output` come with the last."""
        held = await self.current(job)
        for number, fact in enumerate(facts, start=1):
            last = number == len(facts)
            now = self.stores.clock.now()
            after = held.transition(fact, now, next_run_at=now, **(more if last else {}))
            if after.is_final and after.follow_up is None:
                after = replace(after, next_run_at=None, finished_at=now)
            change = Change(held, after, output=output if last else None)
            assert await self.stores.jobs.store(change) is WriteResult.STORED
            held = after
        return held

    async def run(self, job: Job) -> Job:
        """RunComfy has the job and works on it."""
        await self.apply_triggers(job, Trigger.CLAIMED)
        return await self.apply_triggers(
            job, Trigger.ACCEPTED, upstream_id=f"up-{job.id}", upstream_running=True, attempts=1
        )

    async def succeed(self, job: Job, **more: Any) -> Job:  # noqa: ANN401 - fields of the record
        """The job, which runs, brings the output."""
        paid = {"billed": BillingStatus.YES, "cost": COST} | more
        return await self.apply_triggers(
            job, Trigger.FINISHED, Trigger.COLLECTED, output=OUTPUT, **paid
        )

    async def finish(self, job: Job, **more: Any) -> Job:  # noqa: ANN401 - fields of the record
        """The job, which has a slot, runs and brings the output."""
        await self.run(job)
        return await self.succeed(job, **more)

    async def fail(self, job: Job, billed: BillingStatus = BillingStatus.NO) -> Job:
        """The job, which runs, breaks."""
        return await self.apply_triggers(
            job, Trigger.RUN_FAILED, error=UPSTREAM_ERROR, billed=billed
        )

    async def cancel(self, job: Job) -> WriteResult:
        """The caller's wish, as the service stores it first."""
        held = await self.current(job)
        decision = decide_cancel(held, self.stores.clock.now())
        assert decision.after is not None
        return await self.stores.jobs.store(Change(held, decision.after))

    async def hand_over(
        self, job: Job, ended: Callable[[Job, datetime], Job] = cancel_for_successor
    ) -> Job:
        """The job's running work goes to a follower: the heir."""
        held, now = await self.current(job), self.stores.clock.now()
        heir = await self.stores.jobs.load_successor(job.id)
        assert heir is not None
        change = self.handover_change(held, heir, now, ended)
        assert await self.stores.jobs.store(change) is WriteResult.STORED
        return await self.current(heir)

    @staticmethod
    def handover_change(
        held: Job,
        heir: Job,
        now: datetime,
        ended: Callable[[Job, datetime], Job] = cancel_for_successor,
    ) -> Change:
        """The step by which a job ends and another goes on with its work."""
        return handover(held, ended(held, now), heir, now)

    async def delete_record(self, job: Job) -> None:
        """The record goes, as by `DELETE`."""
        self.deleted.append(job.id)
        if isinstance(self.stores.jobs, MemoryJobStore):
            del self.stores.jobs._memory.jobs[job.id]
        else:
            assert isinstance(self.stores.jobs, JobStore)
            await self.stores.jobs._client.execute("DEL", keys.job(job.id))

    async def assert_retained_for(self, job: Job, at_least: timedelta) -> None:
        """The record is kept for so long from now on."""
        if isinstance(self.stores.jobs, MemoryJobStore):
            memory = self.stores.jobs._memory
            left = (memory.jobs[job.id].expires_at or 0) - memory.now
        else:
            assert isinstance(self.stores.jobs, JobStore)
            left = await self.stores.jobs._client.execute("PTTL", keys.job(job.id))
        assert left >= at_least // timedelta(milliseconds=1)

    async def decide(self, job: Job, *, promote: bool = False) -> Change | None:
        """What a worker decides at a look; None: to wait."""
        held = await self.current(job)
        leader = await self.stores.jobs.load_leader(held)
        decided = decide_follow(held, leader, self.stores.clock.now(), promote=promote)
        return decided if isinstance(decided, Change) else None

    async def step_follower(self, job: Job, *, promote: bool = False) -> WriteResult | None:
        """A worker's whole step of a follower; None: it waits."""
        change = await self.decide(job, promote=promote)
        if change is None:
            return None
        outcome = await self.stores.jobs.store(change)
        if outcome is WriteResult.OVER_BUDGET:
            failed = fail_over_budget(change.before, self.stores.clock.now())
            await self.stores.jobs.store(failed)
        return outcome

    async def notify(self, job: Job) -> WriteResult:
        """A worker's step of a hit: its callbacks are written, and its lifetime begins."""
        held = await self.current(job)
        assert held.follow_up is FollowUp.NOTIFY
        return await self.stores.jobs.store(finish_notification(held, self.stores.clock.now()))

    async def state(self, job: Job) -> JobState:
        """Where the job stands."""
        return (await self.current(job)).state


EXPIRE_LEADER: Final = expire_for_successor
