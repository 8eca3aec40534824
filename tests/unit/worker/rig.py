"""A lifecycle whose store, RunComfy and gate do what a test tells them. No sockets, no waiting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

from core.errors import StoreSilent, StoreUnavailable
from core.jobs.job import JobRecord
from core.observability.events import JobTransitioned, OperationalWarning
from core.transactions.job_update import Change, Outcome
from core.webhooks.config import MarkedSetup, WebhookSetup, setup_of
from tests.builders import POLICY, MiddleChance, tenant
from tests.fakes.clock import FakeClock
from tests.fakes.ids import SeededIds
from worker.jobs.decisions.transition import Rules
from worker.jobs.job_processor import Lifecycle
from worker.jobs.job_writer import Hands

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from core.jobs.job import Fact, Job
    from core.observability.events import Event
    from core.tenants.tenant import Tenant
    from worker.jobs.policies import LifecyclePolicy
    from worker.ports import CancelAnswer, ResultAnswer, StatusAnswer, SubmitAnswer

BODY = b'{"prompt": "a  cat"}'


@dataclass
class Shelf:
    """A job store with one job at most of each id. `away`: it does not answer.

    `silent` holds, for the next calls of `store`, whether a silent one was carried out; None: it
    answers.
    """

    records: dict[str, JobRecord] = field(default_factory=dict)
    due: dict[str, datetime | None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    polls: int = 0
    away: bool = False
    silent: deque[bool | None] = field(default_factory=deque)
    has_input: bool = True
    heirs: dict[str, Job] = field(default_factory=dict)

    def put(self, job: Job) -> Job:
        self.records[job.id] = JobRecord(job)
        self.due[job.id] = job.due_at
        return job

    def job(self, job_id: str = "req_1") -> Job:
        return self.records[job_id].job

    async def load(self, job_id: str) -> JobRecord | None:
        self._answer()
        return self.records.get(job_id)

    async def leader(self, job: Job) -> JobRecord | None:
        self._answer()
        return self.records.get(job.leader or "")

    async def heir(self, job_id: str) -> Job | None:
        self._answer()
        return self.heirs.get(job_id)

    async def input(self, job_id: str) -> bytes | None:
        self._answer()
        return BODY if job_id in self.records and self.has_input else None

    async def store(self, change: Change) -> Outcome:
        self._answer()
        carried_out = self.silent.popleft() if self.silent else None
        if carried_out is None:
            return self._store(change)
        if carried_out:
            self._store(change)
        raise StoreSilent

    async def put_off(self, job: Job, due_at: datetime, *, polled: bool = False) -> bool:
        self._answer()
        if job.id not in self.records or self.job(job.id).version != job.version:
            return False
        self.due[job.id] = due_at
        self.polls += polled
        return True

    def _store(self, change: Change) -> Outcome:
        record = self.records.get(change.after.id)
        if record is None:
            return Outcome.UNKNOWN
        if record.job.version != change.before.version:
            return Outcome.STALE
        output = change.output or record.output
        self.records[change.after.id] = JobRecord(change.after, record.polls, output)
        self.due[change.after.id] = change.after.due_at
        self.changes.append(change)
        return Outcome.STORED

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable


@dataclass
class Script:
    """RunComfy as a list of answers per call. `meanwhile` runs while a submit is on its way."""

    submits: deque[SubmitAnswer] = field(default_factory=deque)
    statuses: deque[StatusAnswer] = field(default_factory=deque)
    results: deque[ResultAnswer] = field(default_factory=deque)
    cancels: deque[CancelAnswer] = field(default_factory=deque)
    meanwhile: Callable[[], Awaitable[None]] | None = None
    calls: list[tuple[str, ...]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return len(self.bodies)

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        self.calls.append(("submit", model_id))
        self.bodies.append(body)
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.submits.popleft()

    async def status(self, upstream_id: str) -> StatusAnswer:
        self.calls.append(("status", upstream_id))
        return self.statuses.popleft()

    async def result(self, upstream_id: str) -> ResultAnswer:
        self.calls.append(("result", upstream_id))
        return self.results.popleft()

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        self.calls.append(("cancel", upstream_id))
        return self.cancels.popleft()


@dataclass
class Barrier:
    """A gate that is closed until `until`."""

    until: datetime | None = None
    learnt: list[SubmitAnswer] = field(default_factory=list)
    away: bool = False

    async def closed_until(self) -> datetime | None:
        return self.until

    async def learn(self, answer: SubmitAnswer) -> None:
        if self.away:
            raise StoreUnavailable
        self.learnt.append(answer)


@dataclass
class Roll:
    """The one tenant, or none."""

    tenant: Tenant | None = field(default_factory=tenant)

    async def load(self, name: str) -> Tenant | None:
        return self.tenant if self.tenant is not None and self.tenant.name == name else None


@dataclass
class Setups:
    """What the tenant was created with."""

    roll: Roll

    async def marked(self, tenant: str) -> MarkedSetup:
        found = await self.roll.load(tenant)
        return MarkedSetup(WebhookSetup(tenant) if found is None else setup_of(found), "mark")


@dataclass
class Rig:
    """A worker, `worker-a`, and all that it meets."""

    policy: LifecyclePolicy = POLICY
    shelf: Shelf = field(default_factory=Shelf)
    script: Script = field(default_factory=Script)
    gate: Barrier = field(default_factory=Barrier)
    roll: Roll = field(default_factory=Roll)
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lifecycle = Lifecycle(
            Hands(
                name="worker-a",
                jobs=self.shelf,
                tenants=self.roll,
                webhooks=Setups(self.roll),
                upstream=self.script,
                gate=self.gate,
                clock=self.clock,
                ids=SeededIds(Random(1)),
                emit=self.events.append,
                rules=Rules(self.policy, MiddleChance()),
            )
        )

    async def advance(self, job: Job) -> Job | None:
        """Put `job` on the shelf, take it on, and say how it stands then."""
        await self.lifecycle.advance(self.shelf.put(job))
        return self.now_is(job.id)

    def now_is(self, job_id: str = "req_1") -> Job | None:
        record = self.shelf.records.get(job_id)
        return None if record is None else record.job

    def change(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the record
        """Somebody else changes the record."""
        job = self.shelf.job()
        self.shelf.put(replace(job, version=job.version + 1, **changes))

    @property
    def facts(self) -> list[Fact]:
        return [event.trigger for event in self.events if isinstance(event, JobTransitioned)]

    @property
    def troubles(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, OperationalWarning)]
