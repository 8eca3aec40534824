"""A job processor over stubs: a test sets what store, RunComfy and gate return. No sockets."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any

from core.errors import StoreTimeout, StoreUnavailable
from core.jobs.job import Job, JobRecord, JobState, Trigger, WaitingFor
from core.jobs.submission import Submission
from core.journal.journal import Journal
from core.money import MicroUsd
from core.observability.events import (
    Event,
    JobTransitioned,
    JournalCalled,
    OperationalWarning,
)
from core.store.interfaces import FileRepository
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, WriteResult
from core.upstream.circuits import SubmitBlock
from core.webhooks.config import VersionedConfig, WebhookConfig
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.journal import JOURNAL_TIMEOUT, MemoryObjects, StubGuard
from tests.support.memory_store.stores import memory_stores
from tests.support.object_store import MemoryObjectStore, input_assembler
from tests.support.partial_stores import partial_stores
from tests.support.records import POLICY, MidpointRandom, tenant, webhook_config
from worker.jobs.decisions.transition import DecisionContext, Reschedule
from worker.jobs.job_processor import JobProcessor
from worker.jobs.job_writer import JobWriter
from worker.jobs.paid_submit import PaidSubmitter
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.source_fetching import SourceKeeper
from worker.jobs.submission import JobSubmitter
from worker.ports import CancelAnswer, ResultAnswer, SourceFailed, StatusAnswer, SubmitAnswer

BODY = b'{"prompt": "a  cat"}'


def assert_change(decided: Change | Reschedule) -> Change:
    """The decision, which must be a change and not only a later poll."""
    assert isinstance(decided, Change)
    return decided


@dataclass
class StubJobStore:
    """A job store that keeps records only. `unavailable`: every call raises `StoreUnavailable`.

    `lost_answers` has one value for each of the next calls of `store`: True or False for a lost
    answer, with the change stored or not; None: the call is answered.
    """

    records: dict[str, JobRecord] = field(default_factory=dict)
    due: dict[str, datetime | None] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    polls: int = 0
    unavailable: bool = False
    lost_answers: deque[bool | None] = field(default_factory=deque)
    has_input: bool = True
    input: bytes = BODY
    successors: dict[str, Job] = field(default_factory=dict)
    taken_upstream_ids: set[str] = field(default_factory=set)

    def add(self, job: Job) -> Job:
        self.records[job.id] = JobRecord(job)
        self.due[job.id] = job.next_run_at
        return job

    def job(self, job_id: str = "req_1") -> Job:
        return self.records[job_id].job

    async def load(self, job_id: str) -> JobRecord | None:
        self._answer()
        return self.records.get(job_id)

    async def load_leader(self, job: Job) -> JobRecord | None:
        self._answer()
        return self.records.get(job.leader or "")

    async def load_successor(self, job_id: str) -> Job | None:
        self._answer()
        return self.successors.get(job_id)

    async def load_submission(self, job: Job) -> Submission | None:
        self._answer()
        return (
            Submission(self.input, MicroUsd(840_000))
            if job.id in self.records and self.has_input
            else None
        )

    async def store(self, change: Change) -> WriteResult:
        self._answer()
        carried_out = self.lost_answers.popleft() if self.lost_answers else None
        if carried_out is None:
            return self._store(change)
        if carried_out:
            self._store(change)
        raise StoreTimeout

    async def reschedule(self, job: Job, next_run_at: datetime, *, polled: bool = False) -> bool:
        self._answer()
        if job.id not in self.records or self.job(job.id).version != job.version:
            return False
        self.due[job.id] = next_run_at
        self.polls += polled
        return True

    def _store(self, change: Change) -> WriteResult:
        record = self.records.get(change.after.id)
        if record is None:
            return WriteResult.NOT_FOUND
        if record.job.version != change.before.version:
            return WriteResult.CONFLICT
        if change.if_upstream_id_free and change.taken_upstream_id in self.taken_upstream_ids:
            return WriteResult.UPSTREAM_ID_TAKEN
        output = change.output or record.output
        self.records[change.after.id] = JobRecord(change.after, record.polls, output)
        self.due[change.after.id] = change.after.next_run_at
        self.changes.append(change)
        return WriteResult.STORED

    def _answer(self) -> None:
        if self.unavailable:
            raise StoreUnavailable


@dataclass
class ScriptedUpstream:
    """RunComfy as a list of answers per call. `during_submit` runs before a submit is answered."""

    submits: deque[SubmitAnswer] = field(default_factory=deque)
    statuses: deque[StatusAnswer] = field(default_factory=deque)
    results: deque[ResultAnswer] = field(default_factory=deque)
    cancels: deque[CancelAnswer] = field(default_factory=deque)
    during_submit: Callable[[], Awaitable[None]] | None = None
    calls: list[tuple[str, ...]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return len(self.bodies)

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        self.calls.append(("submit", model_id))
        self.bodies.append(body)
        if self.during_submit is not None:
            await self.during_submit()
        return self.submits.popleft()

    async def get_status(self, upstream_id: str) -> StatusAnswer:
        self.calls.append(("status", upstream_id))
        return self.statuses.popleft()

    async def get_result(self, upstream_id: str) -> ResultAnswer:
        self.calls.append(("result", upstream_id))
        return self.results.popleft()

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        self.calls.append(("cancel", upstream_id))
        return self.cancels.popleft()


@dataclass
class StubGate:
    """A gate that is closed until `reopens_at`, for the reason `waiting_for`."""

    reopens_at: datetime | None = None
    waiting_for: WaitingFor = WaitingFor.RUNCOMFY
    recorded: list[SubmitAnswer] = field(default_factory=list)
    unavailable: bool = False

    async def find_block(self, job: Job) -> SubmitBlock | None:
        assert job.state is JobState.QUEUED
        until = self.reopens_at
        return None if until is None else SubmitBlock(self.waiting_for, until)

    async def record_answer(self, job: Job, answer: SubmitAnswer) -> None:
        assert job.state is JobState.SUBMITTING
        if self.unavailable:
            raise StoreUnavailable
        self.recorded.append(answer)


@dataclass
class StubSource:
    """Private sources, by URL. A value that is an error is raised once it has sent a byte."""

    contents: dict[str, bytes | SourceFailed] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    during_read: Callable[[], Awaitable[None]] | None = None

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened.append(url)
        yield self._read(self.contents[url])

    async def _read(self, content: bytes | SourceFailed) -> AsyncIterator[bytes]:
        if self.during_read is not None:
            await self.during_read()
        if isinstance(content, SourceFailed):
            yield b"?"
            raise content
        yield content


@dataclass
class StubTenantStore:
    """A store with one tenant, or none."""

    tenant: Tenant | None = field(default_factory=tenant)

    async def load(self, name: str) -> Tenant | None:
        return self.tenant if self.tenant is not None and self.tenant.name == name else None


@dataclass
class StubWebhookConfigs:
    """One tenant's config."""

    config: WebhookConfig = field(default_factory=webhook_config)

    async def load_versioned(self, tenant: str) -> VersionedConfig:
        found = self.config if self.config.tenant == tenant else WebhookConfig(tenant)
        return VersionedConfig(found, "mark")


@dataclass
class WorkerHarness:
    """A job processor, `worker-a`, with its stubs and the events that it emits."""

    policy: LifecyclePolicy = POLICY
    jobs: StubJobStore = field(default_factory=StubJobStore)
    upstream: ScriptedUpstream = field(default_factory=ScriptedUpstream)
    gate: StubGate = field(default_factory=StubGate)
    tenants: StubTenantStore = field(default_factory=StubTenantStore)
    webhook_configs: StubWebhookConfigs = field(default_factory=StubWebhookConfigs)
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)
    guard: StubGuard = field(default_factory=StubGuard)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    """What the journal holds."""

    files: FileRepository = field(default_factory=lambda: memory_stores(FakeClock()).files)
    contents: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    """What the storage of files holds."""
    source: StubSource = field(default_factory=StubSource)
    """What private sources hold."""

    def __post_init__(self) -> None:
        stores = partial_stores(
            jobs=self.jobs,
            tenants=self.tenants,
            webhook_configs=self.webhook_configs,
            files=self.files,
        )
        context = DecisionContext("worker-a", self.policy, MidpointRandom())
        ids = SeededIds(Random(1))
        writer = JobWriter(stores, self.clock, self.events.append)
        self.journal = Journal(self.objects, self.clock, self._emit_rare, JOURNAL_TIMEOUT)
        self.paid = PaidSubmitter(
            self.upstream, self.journal, self.clock, ids, self.guard, self.policy.lease
        )
        keeper = SourceKeeper(self.contents, self.files, self.source, self.clock, ids)
        inputs = replace(input_assembler(stores, self.clock, self.contents), sources=keeper)
        submitter = JobSubmitter(stores, self.paid, self.gate, writer, context, inputs)
        self.lifecycle = JobProcessor(stores, self.upstream, submitter, writer, context)

    def _emit_rare(self, event: Event) -> None:
        """Keep the journal's events, except that of each call."""
        if not isinstance(event, JournalCalled):
            self.events.append(event)

    async def advance(self, job: Job) -> Job | None:
        """Store `job`, process it once, and return it as stored afterwards."""
        await self.lifecycle.advance(self.jobs.add(job))
        return self.now_is(job.id)

    def now_is(self, job_id: str = "req_1") -> Job | None:
        record = self.jobs.records.get(job_id)
        return None if record is None else record.job

    def last_change(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the record
        """Change the record as a concurrent writer would."""
        job = self.jobs.job()
        self.jobs.add(replace(job, version=job.version + 1, **changes))

    @property
    def triggers(self) -> list[Trigger]:
        return [event.trigger for event in self.events if isinstance(event, JobTransitioned)]

    @property
    def warnings(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, OperationalWarning)]
