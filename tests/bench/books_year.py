"""Brings a planned year into the product's own books, on a real Redis, and into an own account.

Admissions and settlements are those of services and workers; the `Tally` counts each as well.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from core.jobs.job import BillingStatus, FollowUp, Job, JobState
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
from tests.bench.books_plan import HOUR, TENANTS, YEAR_BEGINS, Ending, PlannedJob
from tests.bench.books_tally import Tally, amounts_of, amounts_of_reuse
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.redis import take_messages

EVENTS_AT_A_TIME: Final = 200
MAX_SPAN: Final = HOUR
"""Events that happen together are not further apart: budgets forget a window after 75 days."""
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
_DOUBT: Final[Step] = (JobState.IN_DOUBT, {"billed": _UNKNOWN})
_KNOWN: Final = {"billed": _YES, "follow_up": None}
_STEPS: Final[Mapping[Ending, Sequence[Step]]] = {
    Ending.COMPLETED: [(JobState.SUCCEEDED, _KNOWN)],
    Ending.COST_LATER: [
        (JobState.SUCCEEDED, {"billed": _YES, "follow_up": FollowUp.READ_COST}),
        (JobState.SUCCEEDED, _KNOWN),
    ],
    Ending.FAILED: [(JobState.FAILED, {"billed": _NO})],
    Ending.FAILED_CHARGED: [(JobState.FAILED, _KNOWN)],
    Ending.FAILED_UNKNOWN: [(JobState.FAILED, {"billed": _UNKNOWN})],
    Ending.CANCELLED: [(JobState.CANCELLED, {"billed": _NO})],
    Ending.CANCELLED_CHARGED: [(JobState.CANCELLED, _KNOWN)],
    Ending.DOUBT_LOST: [_DOUBT, (JobState.FAILED, {"billed": _UNKNOWN})],
    Ending.DOUBT_ATTACHED: [_DOUBT, (JobState.SUCCEEDED, _KNOWN)],
    Ending.IN_DOUBT: [_DOUBT],
    Ending.OPEN: [],
}
"""What happens to a job after its admission, as a worker stores it, but for its id and cost."""
HAS_UPSTREAM_ID: Final = frozenset(Ending) - {
    *(Ending.FAILED, Ending.CANCELLED, Ending.DOUBT_LOST, Ending.IN_DOUBT, Ending.OPEN)
}


def apply_step(job: Job, event: "Event") -> Job:
    """Return the record of a job after the event's step."""
    planned = event.job
    state, changes = _STEPS[planned.ending][event.step]
    if state is not JobState.IN_DOUBT and planned.ending in HAS_UPSTREAM_ID:
        changes = changes | {"upstream_id": f"rc-{planned.number}"}
    if "follow_up" in changes and changes["follow_up"] is None:
        changes = changes | {"cost": MicroUsd(planned.cost)}
    return job.evolve(event.at, state=state, **changes)


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
        while len(chunk) < limit and (event := self._take_one(chunk)) is not None:
            chunk.append(event)
        return chunk

    def _take_one(self, chunk: Sequence[Event]) -> Event | None:
        """Take the next event, unless it is so late that what follows from others comes first."""
        coming = self._coming
        is_waiting = bool(self._waiting) and (coming is None or self._waiting[0] < coming)
        event = self._waiting[0] if is_waiting else coming
        if event is None or (chunk and event.at > chunk[0].at + MAX_SPAN):
            return None
        if is_waiting:
            return heapq.heappop(self._waiting)
        self._coming = next(self._admissions, None)
        return event


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
        self.paid = 0
        """Jobs that were admitted and got no other one's result."""
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

    async def run(self, jobs: Iterable[PlannedJob]) -> int:
        """Let everything happen that is planned; return how many events that were."""
        queue = EventQueue(Event(job.at, job.number, job=job) for job in jobs)
        done = 0
        while chunk := queue.take(EVENTS_AT_A_TIME):
            for following in await self.happen(chunk):
                if following is not None:
                    queue.add(following)
            if done // EVENTS_PER_CLEANUP != (done + len(chunk)) // EVENTS_PER_CLEANUP:
                await take_messages(self._wire)
            done += len(chunk)
        await self.finish()
        return done

    async def finish(self) -> None:
        """Wait until all that was done is stored; here it is already."""

    async def happen(self, events: Sequence[Event]) -> Sequence[Event | None]:
        """Do what is due; return what happens to each job next."""
        return await asyncio.gather(*map(self._happen, events))

    async def _happen(self, event: Event) -> Event | None:
        if event.step < 0:
            return await self._admit(event)
        record = await self.stores.jobs.load(event.job_id)
        if record is None:
            raise RuntimeError(f"{event.job_id} is not stored")
        self.clock.set(event.at)
        after = apply_step(record.job, event)
        output = b"{}" if after.state is JobState.SUCCEEDED else None
        stored = await self.stores.jobs.store(Change(record.job, after, output=output))
        if stored is not WriteResult.STORED:
            raise RuntimeError(f"{event.job_id}: {stored}")
        return self._after_step(event)

    async def _admit(self, event: Event) -> Event | None:
        planned, original = event.job, event.repeats
        shared = original or planned
        job = self._build_job(planned, f"1:{shared.number:064x}")
        credential = Credential(planned.tenant, api_key_digest(planned.tenant))
        cache = CacheRequest() if shared.is_repeated else CACHE_BYPASS
        self.clock.set(planned.at)
        admitted = await self.stores.jobs.admit(Admission(credential, job, b"{}", cache=cache))
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
        self.paid += 1
        self.tally.add(planned, amounts)
        if f"{planned.at:%Y-%m}" != BILLED_MONTH:
            return
        if planned.ending in {Ending.DOUBT_LOST, Ending.IN_DOUBT}:
            self.unbilled[planned.ending] += 1
        elif planned.ending in HAS_UPSTREAM_ID:
            self.charged[f"rc-{planned.number}"] = amounts.get("settled_usd", 0)

    def _next_step(self, event: Event) -> Event | None:
        if event.step + 1 == len(_STEPS[event.job.ending]):
            return None
        return replace(event, at=event.at + event.job.ends_after, step=event.step + 1)

    def _after_step(self, event: Event) -> Event | None:
        following = self._next_step(event)
        if following is not None or not event.job.is_repeated or event.repeats is not None:
            return following
        again = replace(event.job, at=event.at + SHORT_TTL / 2, number=-event.job.number - 1)
        again = replace(again, ending=Ending.COMPLETED)
        return Event(again.at, again.number, job=again, repeats=event.job)
