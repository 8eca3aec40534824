"""Identical requests in few words: submit them, run the paid job, let followers poll.

A follower's step is the worker's own decision, stored as the worker stores it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from core.deduplication.coalescing import cancel_for_successor, expire_for_successor, handover
from core.jobs.job import BillingStatus, FollowUp, Job, JobError, JobRecord, JobState, Trigger
from core.money import MicroUsd
from core.store import keys
from core.store.jobs import JobStore
from core.transactions.admission import AdmissionResult, CacheRequest, IdempotencyClaim
from core.transactions.job_update import Change, WriteResult
from service.jobs.cancel import decide_cancel
from tests.support.memory_store.jobs import MemoryJobStore
from tests.support.store_harness import StoreHarness
from worker.jobs.decisions.after_end import finish_notification
from worker.jobs.decisions.follow_leader import decide_follow, fail_over_budget

CACHE_REQUEST: Final = CacheRequest()
SECOND: Final = timedelta(seconds=1)
OUTPUT: Final = b'{"video":"https://media.test/1.mp4"}'
COST: Final = MicroUsd(1_000_000)
UPSTREAM_ERROR: Final = JobError("upstream_failed", "It broke.")


@dataclass(frozen=True, slots=True)
class CoalescingHarness:
    """Identical requests to one gateway."""

    stores: StoreHarness
    deleted: list[str] = field(default_factory=list)
    """Ids of records that were removed early: a recount misses them."""

    async def submit(
        self,
        tenant: str = "ape",
        reuse: CacheRequest = CACHE_REQUEST,
        key: str | None = None,
        *,
        dry_run: bool = False,
        **changes: Any,  # noqa: ANN401 - fields of the record
    ) -> tuple[Job, AdmissionResult]:
        """Submit the one input. Returns the stored job and the result of the admission."""
        job = self.stores.job(tenant, **changes)
        claim = IdempotencyClaim(key, job.fingerprint) if key else None
        admitted = await self.stores.admit(job, cache=reuse, idempotency=claim, dry_run=dry_run)
        return (admitted.record.job if admitted.record else job), admitted

    async def submit_job(self, tenant: str = "ape", **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """Submit the one input. Returns the stored job."""
        return (await self.submit(tenant, **changes))[0]

    async def current(self, job: Job) -> Job:
        """The current job."""
        return (await self.record(job)).job

    async def record(self, job: Job) -> JobRecord:
        """The current record of the job."""
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
        """Store these transitions and return the job; `more` and `output` belong to the last."""
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
        """Submit the job to RunComfy, which runs it."""
        await self.apply_triggers(job, Trigger.CLAIMED)
        return await self.apply_triggers(
            job, Trigger.ACCEPTED, upstream_id=f"up-{job.id}", upstream_running=True, attempts=1
        )

    async def succeed(self, job: Job, **more: Any) -> Job:  # noqa: ANN401 - fields of the record
        """End the running job with the output."""
        paid = {"billed": BillingStatus.YES, "cost": COST} | more
        return await self.apply_triggers(
            job, Trigger.FINISHED, Trigger.COLLECTED, output=OUTPUT, **paid
        )

    async def finish(self, job: Job, **more: Any) -> Job:  # noqa: ANN401 - fields of the record
        """Run the job, which has a slot, and end it with the output."""
        await self.run(job)
        return await self.succeed(job, **more)

    async def fail(self, job: Job, billed: BillingStatus = BillingStatus.NO) -> Job:
        """End the running job as failed."""
        return await self.apply_triggers(
            job, Trigger.RUN_FAILED, error=UPSTREAM_ERROR, billed=billed
        )

    async def cancel(self, job: Job) -> WriteResult:
        """Store a caller's cancel, as the service does first."""
        held = await self.current(job)
        decision = decide_cancel(held, self.stores.clock.now())
        assert decision.after is not None
        return await self.stores.jobs.store(Change(held, decision.after))

    async def hand_over(
        self, job: Job, ended: Callable[[Job, datetime], Job] = cancel_for_successor
    ) -> Job:
        """End the job and transfer its running work to its successor, which is returned."""
        held, now = await self.current(job), self.stores.clock.now()
        successor = await self.stores.jobs.load_successor(job.id)
        assert successor is not None
        change = self.handover_change(held, successor, now, ended)
        assert await self.stores.jobs.store(change) is WriteResult.STORED
        return await self.current(successor)

    @staticmethod
    def handover_change(
        held: Job,
        successor: Job,
        now: datetime,
        ended: Callable[[Job, datetime], Job] = cancel_for_successor,
    ) -> Change:
        """The change that ends a job and transfers its work."""
        return handover(held, ended(held, now), successor, now)

    async def delete_record(self, job: Job) -> None:
        """Remove the record, as a deletion does."""
        self.deleted.append(job.id)
        if isinstance(self.stores.jobs, MemoryJobStore):
            del self.stores.jobs._memory.jobs[job.id]
        else:
            assert isinstance(self.stores.jobs, JobStore)
            await self.stores.jobs._client.execute("DEL", keys.job(job.id))

    async def assert_retained_for(self, job: Job, at_least: timedelta) -> None:
        """The record's TTL is `at_least` so long."""
        if isinstance(self.stores.jobs, MemoryJobStore):
            memory = self.stores.jobs._memory
            left = (memory.jobs[job.id].expires_at or 0) - memory.now
        else:
            assert isinstance(self.stores.jobs, JobStore)
            left = await self.stores.jobs._client.execute("PTTL", keys.job(job.id))
        assert left >= at_least // timedelta(milliseconds=1)

    async def decide(self, job: Job, *, promote: bool = False) -> Change | None:
        """The worker's decision about a follower; None: to wait."""
        held = await self.current(job)
        leader = await self.stores.jobs.load_leader(held)
        decided = decide_follow(held, leader, self.stores.clock.now(), promote=promote)
        return decided if isinstance(decided, Change) else None

    async def step_follower(self, job: Job, *, promote: bool = False) -> WriteResult | None:
        """Decide and store the step of a follower; None: it waits."""
        change = await self.decide(job, promote=promote)
        if change is None:
            return None
        outcome = await self.stores.jobs.store(change)
        if outcome is WriteResult.OVER_BUDGET:
            failed = fail_over_budget(change.before, self.stores.clock.now())
            await self.stores.jobs.store(failed)
        return outcome

    async def notify(self, job: Job) -> WriteResult:
        """Run a cache hit's follow-up: its deliveries are written, its retention begins."""
        held = await self.current(job)
        assert held.follow_up is FollowUp.NOTIFY
        return await self.stores.jobs.store(finish_notification(held, self.stores.clock.now()))

    async def state(self, job: Job) -> JobState:
        """The job's current state."""
        return (await self.current(job)).state


EXPIRE_LEADER: Final = expire_for_successor
