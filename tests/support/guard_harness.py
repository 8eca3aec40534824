"""A store guard over the in-memory stores, which go back by snapshots, and a journal in memory."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from core.jobs.job import Job, JobState
from core.jobs.submission import Submission
from core.journal.journal import Journal
from core.journal.records import (
    JournalAnswer,
    JournalEntry,
    Outcome,
)
from core.money import MicroUsd
from core.observability.events import Event, JobReconciled, SubmitsStopped
from core.store.identity import KEPT_CLAIMS, StorePosition
from core.tenants.api_keys import ApiKey, Credential
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.journal import JOURNAL_TIMEOUT, MemoryObjects
from tests.support.memory_store.snapshots import Snapshot, restore_snapshot, take_snapshot
from tests.support.memory_store.stores import MemoryStores, memory_stores
from tests.support.records import POLICY, SECOND, MidpointRandom, job
from tests.support.worker import ScriptedUpstream
from worker.jobs.answer_writer import AnswerWriter
from worker.jobs.decisions.submit import accept, claim_submit
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_writer import JobWriter
from worker.jobs.paid_submit import PaidSubmitter
from worker.jobs.reconciliation import Reconciler
from worker.jobs.store_commands import StoreCommands
from worker.jobs.store_guard import GuardPolicy, StoreGuard

S = JobState
MINE = "real 1111111111111111"
BODY = b'{"prompt": "a cat"}'
CREDENTIAL = Credential("video-team", "digest")


@dataclass
class GuardHarness:
    """One store and one journal, with a guard for each worker."""

    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stores: MemoryStores = memory_stores(self.clock)
        self.objects = MemoryObjects(self.clock)
        self.rest = (self.clock, lambda _: None, JOURNAL_TIMEOUT)
        self.journal = Journal(self.objects, *self.rest)
        self.has_commands_journal = True
        self.ids = SeededIds(Random(1))
        self.context = DecisionContext("worker-a", POLICY, MidpointRandom())
        writer = JobWriter(self.stores, self.clock, lambda _: None)
        self.answers = AnswerWriter(self.stores, writer, self.clock, self.context)
        self.reconciler = Reconciler(
            self.stores, self.journal, self.answers, self.clock, POLICY.doubt_hold
        )

    def guard(
        self,
        settle_delay: timedelta = timedelta(0),
        account: str = "",
        *journals: Journal | None,
    ) -> StoreGuard:
        return StoreGuard(
            self.stores.identity,
            journals[0] if journals else self.journal,
            self.clock,
            self.ids,
            self.events.append,
            GuardPolicy(settle_delay, account),
        )

    async def started_after_replacement(self) -> StoreGuard:
        await self.guard().run_once(self.reconciler)
        await self.commands().replace_journal(dry_run=False)
        return await self.started()

    async def started(self) -> StoreGuard:
        guard = self.guard()
        await guard.run_once(self.reconciler)
        assert guard.is_open
        return guard

    async def gone_back(self) -> StoreGuard:
        """A guard that knows an accepted submit, of `req_1`, which its store has forgotten."""
        guard = await self.started()
        before = self.snapshot()
        await self.accepted(await self.claim(await self.admit()))
        assert await guard.allows_submit()
        self.go_back_to(before)
        return guard

    def commands(self) -> StoreCommands:
        return StoreCommands(
            self.stores.identity,
            self.clock,
            self.ids,
            self.stores.jobs,
            self.answers,
            self.journal if self.has_commands_journal else None,
            self.reconciler,
        )

    async def admit(self, job_id: str = "req_1") -> Job:
        if "video-team" not in self.stores.memory.tenants:
            now = self.clock.now()
            key = ApiKey(CREDENTIAL.digest, "video-team", now)
            await self.stores.tenants.create(Tenant("video-team", now), key)
        now = self.clock.now()
        new = job(id=job_id, created_at=now, updated_at=now, estimate=MicroUsd(500))
        await self.stores.jobs.admit(Admission(CREDENTIAL, new, BODY))
        return new

    async def claim(self, queued: Job) -> Job:
        claimed = await self.claim_without_entry(queued)
        submission = Submission(BODY, MicroUsd(500))
        await self.journal.create(JournalEntry(claimed, 1, submission, "c"))
        return claimed

    async def claim_without_entry(self, queued: Job) -> Job:
        await self.clock.advance(SECOND)
        change = claim_submit(queued, self.clock.now(), self.context)
        await self.stores.jobs.store(change)
        return change.after

    def paid(self, guard: StoreGuard) -> PaidSubmitter:
        upstream = ScriptedUpstream()
        return PaidSubmitter(upstream, self.journal, self.clock, self.ids, guard, POLICY.lease)

    def lose_journal(self) -> dict[str, bytes]:
        held = dict(self.objects.contents)
        self.objects.contents.clear()
        self.objects.written.clear()
        return held

    def copy_journal(self) -> dict[str, bytes]:
        return dict(self.objects.contents)

    def swap_journal(self, copy: dict[str, bytes]) -> None:
        self.lose_journal()
        for name, content in copy.items():
            self.objects.put(name, content)

    def drop_entries(self) -> None:
        self.swap_journal(
            {name: held for name, held in self.copy_journal().items() if "entries/" not in name}
        )

    def count_loads(self) -> list[str]:
        """Return a list that gets an item for each later read of the position."""
        loads, identity = [], self.stores.identity
        load = identity.load

        async def counted(known: StorePosition | None = None) -> StorePosition | None:
            loads.append("load")
            return await load(known)

        identity.load = counted  # type: ignore[method-assign]  # a fake of our own
        return loads

    async def accepted(self, claimed: Job, upstream_id: str = "up-1") -> Job:
        answer = JournalAnswer(Outcome.ACCEPTED, self.clock.now(), upstream_id)
        await self.journal.answer(claimed, 1, answer)
        change = accept(claimed, upstream_id, self.clock.now(), self.context)
        await self.stores.jobs.store(change)
        return change.after

    def snapshot(self) -> Snapshot:
        return take_snapshot(self.stores.memory)

    def go_back_to(self, snapshot: Snapshot) -> None:
        restore_snapshot(self.stores.memory, snapshot)

    def fill_log(self) -> None:
        """Claim so many submits that the log has no earlier claim."""
        memory, now = self.stores.memory, self.clock.now()
        claims = [f"req_x{number} {now.timestamp() * 1e6:.0f}" for number in range(KEPT_CLAIMS)]
        memory.claim_log[:] = claims
        assert memory.position is not None
        memory.position = replace(memory.position, claims=memory.position.claims + KEPT_CLAIMS)

    def reconnect(self) -> None:
        self.stores.memory.connections += 1

    async def state_of(self, job_id: str = "req_1") -> tuple[JobState, str | None]:
        record = await self.stores.jobs.load(job_id)
        assert record is not None
        return record.job.state, record.job.upstream_id

    @property
    def differences(self) -> list[str]:
        return [event.difference for event in self.events if isinstance(event, JobReconciled)]

    @property
    def stops(self) -> list[str]:
        return [event.status for event in self.events if isinstance(event, SubmitsStopped)]
