"""What tests of reuse do in few words: ask for the same, take the paid job on, let followers look.

A follower's look is the worker's own decision, stored as the worker stores it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from core.deduplication.coalescing import cancelled_for_heir, expired_for_heir, handover
from core.jobs.job import Billed, Errand, Fact, Job, JobError, JobState
from core.money import MicroUsd
from core.store import keys
from core.transactions.admission import ReuseRequest
from core.transactions.job_update import Change, Outcome
from service.jobs.cancel import decide_cancel
from tests.fakes.jobs import MemoryJobStore
from worker.jobs.decisions.after_end import notified
from worker.jobs.decisions.follow_leader import followed, over_budget
from worker.jobs.decisions.transition import Move

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from core.jobs.job import JobRecord
    from core.transactions.admission import Admitted
    from tests.contract.gateway import Gateway

USE: Final = ReuseRequest()
SECOND: Final = timedelta(seconds=1)
OUTPUT: Final = b'{"video":"https://media.test/1.mp4"}'
COST: Final = MicroUsd(1_000_000)
BROKEN: Final = JobError("upstream_failed", "It broke.")


@dataclass(frozen=True, slots=True)
class Flight:
    """One gateway's identical requests."""

    gateway: Gateway
    lost: list[str] = field(default_factory=list)
    """Records that went before their time: no recount knows of them."""

    async def ask(
        self,
        tenant: str = "ape",
        reuse: ReuseRequest = USE,
        key: str | None = None,
        *,
        dry_run: bool = False,
        **changes: Any,  # noqa: ANN401 - fields of the record
    ) -> tuple[Job, Admitted]:
        """A submit of the one input, and what became of it. The job is as the store has it."""
        job = self.gateway.job(tenant, **changes)
        admitted = await self.gateway.admit(job, reuse=reuse, idempotency=key, dry_run=dry_run)
        return (admitted.record.job if admitted.record else job), admitted

    async def join(self, tenant: str = "ape", **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """A submit's job."""
        return (await self.ask(tenant, **changes))[0]

    async def now(self, job: Job) -> Job:
        """The job as it stands."""
        return (await self.record(job)).job

    async def record(self, job: Job) -> JobRecord:
        """The job as it stands, with what is kept beside it."""
        record = await self.gateway.jobs.load(job.id)
        assert record is not None
        return record

    async def step(self, job: Job, *facts: Fact, output: bytes | None = None, **more: Any) -> Job:  # noqa: ANN401 - fields of the record
        """The job after these facts, each stored; `more` and `output` come with the last."""
        held = await self.now(job)
        for number, fact in enumerate(facts, start=1):
            last = number == len(facts)
            now = self.gateway.clock.now()
            after = held.after(fact, now, due_at=now, **(more if last else {}))
            if after.final and after.errand is None:
                after = replace(after, due_at=None, finished_at=now)
            change = Change(held, after, output=output if last else None)
            assert await self.gateway.jobs.store(change) is Outcome.STORED
            held = after
        return held

    async def run(self, job: Job) -> Job:
        """RunComfy has the job and works on it."""
        await self.step(job, Fact.CLAIMED)
        return await self.step(
            job, Fact.ACCEPTED, upstream_id=f"up-{job.id}", upstream_running=True, attempts=1
        )

    async def succeed(self, job: Job, **more: Any) -> Job:  # noqa: ANN401 - fields of the record
        """The job, which runs, brings the output."""
        paid = {"billed": Billed.YES, "cost": COST} | more
        return await self.step(job, Fact.FINISHED, Fact.COLLECTED, output=OUTPUT, **paid)

    async def finish(self, job: Job, **more: Any) -> Job:  # noqa: ANN401 - fields of the record
        """The job, which has a slot, runs and brings the output."""
        await self.run(job)
        return await self.succeed(job, **more)

    async def fail(self, job: Job, billed: Billed = Billed.NO) -> Job:
        """The job, which runs, breaks."""
        return await self.step(job, Fact.BROKE, error=BROKEN, billed=billed)

    async def cancel(self, job: Job) -> Outcome:
        """The caller's wish, as the service stores it first."""
        held = await self.now(job)
        decision = decide_cancel(held, self.gateway.clock.now())
        assert decision.after is not None
        return await self.gateway.jobs.store(Change(held, decision.after))

    async def hand_on(
        self, job: Job, ended: Callable[[Job, datetime], Job] = cancelled_for_heir
    ) -> Job:
        """The job's running work goes to a follower: the heir."""
        held, now = await self.now(job), self.gateway.clock.now()
        heir = await self.gateway.jobs.heir(job.id)
        assert heir is not None
        change = self.over(held, heir, now, ended)
        assert await self.gateway.jobs.store(change) is Outcome.STORED
        return await self.now(heir)

    @staticmethod
    def over(
        held: Job,
        heir: Job,
        now: datetime,
        ended: Callable[[Job, datetime], Job] = cancelled_for_heir,
    ) -> Change:
        """The step by which a job ends and another goes on with its work."""
        return handover(held, ended(held, now), heir, now)

    async def lose(self, job: Job) -> None:
        """The record goes, as by `DELETE`."""
        self.lost.append(job.id)
        if isinstance(self.gateway.jobs, MemoryJobStore):
            del self.gateway.jobs._memory.jobs[job.id]
        else:
            await self.gateway.jobs._wire.execute("DEL", keys.job(job.id))

    async def keeps(self, job: Job, at_least: timedelta) -> None:
        """The record is kept for so long from now on."""
        if isinstance(self.gateway.jobs, MemoryJobStore):
            memory = self.gateway.jobs._memory
            left = (memory.jobs[job.id].expires_at or 0) - memory.now
        else:
            left = await self.gateway.jobs._wire.execute("PTTL", keys.job(job.id))
        assert left >= at_least // timedelta(milliseconds=1)

    async def decide(self, job: Job, *, promote: bool = False) -> tuple[Job, Move | None]:
        """What a worker decides at a look; None: to wait."""
        held = await self.now(job)
        leader = await self.gateway.jobs.leader(held)
        decided = followed(held, leader, self.gateway.clock.now(), promote=promote)
        return held, decided if isinstance(decided, Move) else None

    async def carry_out(self, held: Job, move: Move) -> Outcome:
        """What was decided, perhaps a while ago, is stored."""
        return await self.gateway.jobs.store(
            Change(
                before=held,
                after=move.after,
                entries=() if move.entry is None else (move.entry,),
                output=move.output,
                instead_of=move.instead_of,
            )
        )

    async def look(self, job: Job, *, promote: bool = False) -> Outcome | None:
        """A worker's whole step of a follower; None: it waits."""
        held, move = await self.decide(job, promote=promote)
        if move is None:
            return None
        outcome = await self.carry_out(held, move)
        if outcome is Outcome.OVER_BUDGET:
            await self.carry_out(held, over_budget(held, self.gateway.clock.now()))
        return outcome

    async def notify(self, job: Job) -> Outcome:
        """A worker's step of a hit: its callbacks are written, and its lifetime begins."""
        held = await self.now(job)
        assert held.errand is Errand.NOTIFY
        return await self.carry_out(held, notified(held, self.gateway.clock.now()))

    async def state(self, job: Job) -> JobState:
        """Where the job stands."""
        return (await self.now(job)).state


EXPIRED: Final = expired_for_heir
