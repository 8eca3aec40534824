"""Brings a planned year into the product's own books, on a real Redis, and into an own account.

Admissions and settlements are those of services and workers; the `Tally` counts each as well.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from core.jobs.job import BillingStatus, FollowUp, Job, JobState
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd
from core.store.client import RedisClient
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import Stores, open_stores
from core.tenants.api_keys import ApiKey, Credential, api_key_digest
from core.tenants.cache_policy import CacheStatus
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.tenants.windows import AccountingCalendar
from core.transactions.admission import CACHE_BYPASS, Admission, CacheRequest
from core.transactions.job_update import Change, WriteResult
from tests.bench.books_plan import HOUR, TENANTS, YEAR_BEGINS, Ending, PlannedJob, plan_year
from tests.bench.books_tally import Tally, amounts_of, amounts_of_reuse
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.redis import take_messages

EVENTS_AT_A_TIME: Final = 100
EVENTS_PER_CLEANUP: Final = 10_000
BILLED_MONTH: Final = "2028-11"
ENOUGH: Final = MicroUsd(10**14)
BUDGETS: Final = Limits(
    usd_per_day=ENOUGH, usd_per_week=ENOUGH, usd_per_month=ENOUGH, usd_total=ENOUGH
)
SHORT_TTL: Final = timedelta(minutes=1)
"""By Redis's own clock: a million ended jobs need no memory. What they cost stays in the books."""

Step = tuple[JobState, dict[str, Any]]
_YES, _NO, _UNKNOWN = BillingStatus.YES, BillingStatus.NO, BillingStatus.UNKNOWN


def steps_of(job: PlannedJob) -> Sequence[Step]:
    """Return what happens to a job after its admission, as the worker stores it."""
    paid = {"upstream_id": f"rc-{job.number}", "billed": _YES}
    known = paid | {"cost": MicroUsd(job.cost), "follow_up": None}
    doubt = (JobState.IN_DOUBT, {"billed": _UNKNOWN})
    steps: Mapping[Ending, Sequence[Step]] = {
        Ending.COMPLETED: [(JobState.SUCCEEDED, known)],
        Ending.COST_LATER: [
            (JobState.SUCCEEDED, paid | {"follow_up": FollowUp.READ_COST}),
            (JobState.SUCCEEDED, known),
        ],
        Ending.FAILED: [(JobState.FAILED, {"billed": _NO})],
        Ending.FAILED_CHARGED: [(JobState.FAILED, known)],
        Ending.FAILED_UNKNOWN: [(JobState.FAILED, paid | {"billed": _UNKNOWN})],
        Ending.CANCELLED: [(JobState.CANCELLED, {"billed": _NO})],
        Ending.CANCELLED_CHARGED: [(JobState.CANCELLED, known)],
        Ending.DOUBT_LOST: [doubt, (JobState.FAILED, {"billed": _UNKNOWN})],
        Ending.DOUBT_ATTACHED: [doubt, (JobState.SUCCEEDED, known)],
        Ending.IN_DOUBT: [doubt],
        Ending.OPEN: [],
    }
    return steps[job.ending]


@dataclass(order=True, slots=True)
class Event:
    """The next thing that happens to a job: its admission, or one of its steps."""

    at: datetime
    number: int
    step: int = -1
    """Which of its steps; -1: its admission."""
    job: PlannedJob = field(compare=False, kw_only=True)
    job_id: str = field(compare=False, default="")
    repeats: PlannedJob | None = field(compare=False, default=None)
    """Whose request this one repeats."""


class EventQueue:
    """Events by time: the planned admissions, and what follows from them."""

    def __init__(self, admissions: Iterator[Event]) -> None:
        """`admissions` are in their order, and read one by one."""
        self._admissions = admissions
        self._coming = next(admissions, None)
        self._waiting: list[Event] = []

    def add(self, event: Event) -> None:
        """Add what follows from an event."""
        heapq.heappush(self._waiting, event)

    def take(self, limit: int) -> list[Event]:
        """Take the next events, of different jobs; none: all is done."""
        chunk: list[Event] = []
        while len(chunk) < limit and (self._waiting or self._coming is not None):
            if self._coming is None or (self._waiting and self._waiting[0] < self._coming):
                chunk.append(heapq.heappop(self._waiting))
            else:
                chunk.append(self._coming)
                self._coming = next(self._admissions, None)
        return chunk


class Books:
    """The product's stores over a Redis, the jobs of the year in them, and the own account."""

    def __init__(self, wire: RedisClient) -> None:
        """Open the stores; nothing is written yet."""
        self.clock = FakeClock(YEAR_BEGINS)
        self.stores: Stores = open_stores(wire, LuaScripts(wire, load_scripts()), self.clock)
        self.tally = Tally()
        self.charged: dict[str, int] = {}
        """What RunComfy's bill of `BILLED_MONTH` says, by its id."""
        self.unbilled: Counter[Ending] = Counter()
        """Jobs of that month that RunComfy may have charged without the gateway knowing its id."""
        self.reused = 0
        self._ids = SeededIds(Random(1))
        self._wire = wire

    async def create_tenants(self) -> None:
        """Create every tenant with its calendar, budgets that are checked, and a key."""
        for name, plan in TENANTS.items():
            tenant = Tenant(
                name,
                YEAR_BEGINS - 20 * HOUR,
                limits=BUDGETS,
                calendar=AccountingCalendar(plan.time_zone, plan.reset_hour),
                result_ttl=SHORT_TTL,
            )
            key = ApiKey(api_key_digest(name), name, YEAR_BEGINS)
            if not await self.stores.tenants.create(tenant, key):
                raise RuntimeError(f"the tenant {name} was not created")

    async def run(self, count: int) -> int:
        """Let everything happen that is planned; return how many events that were."""
        queue = EventQueue(Event(job.at, job.number, job=job) for job in plan_year(count))
        done = 0
        while chunk := queue.take(EVENTS_AT_A_TIME):
            for following in await asyncio.gather(*map(self._happen, chunk)):
                if following is not None:
                    queue.add(following)
            if done // EVENTS_PER_CLEANUP != (done + len(chunk)) // EVENTS_PER_CLEANUP:
                await take_messages(self._wire)
            done += len(chunk)
        return done

    async def _happen(self, event: Event) -> Event | None:
        """Do what is due; return what happens to the job next."""
        if event.step < 0:
            return await self._admit(event)
        job, (state, changes) = event.job, steps_of(event.job)[event.step]
        record = await self.stores.jobs.load(event.job_id)
        if record is None:
            raise RuntimeError(f"{event.job_id} is not stored")
        self.clock.set(event.at)
        after = record.job.evolve(event.at, state=state, **changes)
        output = b"{}" if state is JobState.SUCCEEDED else None
        stored = await self.stores.jobs.store(Change(record.job, after, output=output))
        if stored is not WriteResult.STORED:
            raise RuntimeError(f"{job.number}: {stored}")
        return self._after_step(event)

    async def _admit(self, event: Event) -> Event | None:
        planned, original = event.job, event.repeats
        shared = original or planned
        job = self._build_job(planned, f"1:{shared.number:064x}")
        entry = TimelineEntry(planned.at, TimelineKind.ADMISSION, "admitted", JobState.QUEUED)
        credential = Credential(planned.tenant, api_key_digest(planned.tenant))
        cache = CacheRequest() if shared.is_repeated else CACHE_BYPASS
        self.clock.set(planned.at)
        admitted = await self.stores.jobs.admit(
            Admission(credential, job, b"{}", entry, cache=cache)
        )
        if original is not None and admitted.cache_status is CacheStatus.HIT:
            self.reused += 1
            self.tally.add(planned, amounts_of_reuse(original))
            return None
        self._count(planned)
        return self._next_step(replace(event, job_id=job.id))

    def _build_job(self, planned: PlannedJob, fingerprint: str) -> Job:
        at = planned.at
        return Job(
            self._ids.job_id(at),
            *(planned.tenant, planned.model, fingerprint, at, at),
            estimate=MicroUsd(planned.price),
            reference=planned.reference,
            labels=planned.labels,
            key_id=planned.key,
            video_ms=planned.video_ms,
        )

    def _count(self, planned: PlannedJob) -> None:
        """Add a job that is paid for to the own account, and to RunComfy's bill."""
        amounts = amounts_of(planned)
        self.tally.add(planned, amounts)
        if f"{planned.at:%Y-%m}" != BILLED_MONTH:
            return
        if planned.ending in {Ending.DOUBT_LOST, Ending.IN_DOUBT}:
            self.unbilled[planned.ending] += 1
        elif any("upstream_id" in changes for _, changes in steps_of(planned)):
            self.charged[f"rc-{planned.number}"] = amounts.get("settled_usd", 0)

    def _next_step(self, event: Event) -> Event | None:
        if event.step + 1 == len(steps_of(event.job)):
            return None
        return replace(event, at=event.at + event.job.ends_after, step=event.step + 1)

    def _after_step(self, event: Event) -> Event | None:
        following = self._next_step(event)
        if following is not None or not event.job.is_repeated or event.repeats is not None:
            return following
        again = replace(event.job, at=event.at + SHORT_TTL / 2, number=-event.job.number - 1)
        again = replace(again, ending=Ending.COMPLETED)
        return Event(again.at, again.number, job=again, repeats=event.job)
