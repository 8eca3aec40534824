"""A worker over real stores, with a journal and a RunComfy in memory: its store may go back."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

from core.journal.journal import Journal
from core.money import MicroUsd
from core.observability.events import Event
from core.store.stores import Stores
from core.upstream.circuit_breaker import BreakerPolicy
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.journal import JOURNAL_TIMEOUT, MemoryObjects, StubGuard
from tests.support.object_store import input_assembler
from tests.support.records import rules
from worker.batches.completion import BatchCompleter
from worker.jobs.answer_writer import AnswerWriter
from worker.jobs.job_processor import JobProcessor
from worker.jobs.job_writer import JobWriter
from worker.jobs.paid_submit import PaidSubmitter
from worker.jobs.reconciliation import Finding, Reconciler
from worker.jobs.submission import JobSubmitter
from worker.jobs.submit_circuit_breaker import SubmitCircuitBreaker
from worker.ports import (
    Accepted,
    CancelAnswer,
    Finished,
    InProgress,
    ResultAnswer,
    RunCompleted,
    RunFailed,
    StatusAnswer,
    SubmitAnswer,
    UpstreamFault,
    UpstreamTimes,
)

LEASE: Final = timedelta(seconds=15)
HOLD: Final = timedelta(hours=1)
STEP: Final = timedelta(seconds=20)
CHARGE: Final = MicroUsd(70)
OUTPUT: Final = b'{"video":"https://media.test/2.mp4"}'
MAX_STEPS: Final = 40


@dataclass(slots=True)
class PaidRunComfy:
    """Accepts every submit; requests end once `ends_runs` is set. `paid` counts them by input.

    `answer`: what a submit is answered instead. `fails`: the requests that fail, without a charge.
    """

    ends_runs: bool = False
    answer: SubmitAnswer | None = None
    fails: set[str] = field(default_factory=set)
    paid: Counter[bytes] = field(default_factory=Counter)

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        assert model_id
        self.paid[body] += 1
        return self.answer or Accepted(f"up-{self.paid.total()}")

    async def get_status(self, upstream_id: str) -> StatusAnswer:
        assert upstream_id
        is_running = not self.ends_runs
        return InProgress(is_running=True, status_word="in_progress") if is_running else _END

    async def get_result(self, upstream_id: str) -> ResultAnswer:
        if upstream_id in self.fails:
            return RunFailed(UpstreamFault("failed", "It broke."), MicroUsd(0), UpstreamTimes())
        return RunCompleted(OUTPUT, CHARGE, UpstreamTimes())

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        raise AssertionError(upstream_id)


_END: Final = Finished("completed")


@dataclass(slots=True)
class JournalledWorker:
    """What a worker does in a second, called step by step."""

    stores: Stores
    clock: FakeClock
    upstream: PaidRunComfy = field(default_factory=PaidRunComfy)
    events: list[Event] = field(default_factory=list)
    began: datetime = field(init=False)
    guard: StubGuard = field(default_factory=StubGuard)
    processor: JobProcessor = field(init=False)
    reconciler: Reconciler = field(init=False)
    journal: Journal = field(init=False)
    _paid: PaidSubmitter = field(init=False)

    def __post_init__(self) -> None:
        stores, clock, context = self.stores, self.clock, rules()
        emit = self.events.append
        self.began = clock.now()
        journal = self.journal = Journal(MemoryObjects(clock), clock, emit, JOURNAL_TIMEOUT)
        writer = JobWriter(stores, clock, emit)
        gate = SubmitCircuitBreaker(
            stores.circuit_breakers, stores.jobs, clock, BreakerPolicy(), emit
        )
        ids = SeededIds(Random(3))
        self._paid = PaidSubmitter(self.upstream, journal, clock, ids, self.guard, LEASE)
        submitter = JobSubmitter(
            stores, self._paid, gate, writer, context, input_assembler(stores, clock)
        )
        self.processor = JobProcessor(stores, self.upstream, submitter, writer, context)
        answers = AnswerWriter(stores, writer, clock, context)
        self.reconciler = Reconciler(stores, journal, answers, clock, HOLD)

    async def run_due(self) -> int:
        """Advance all due jobs by a step each; return how many there were."""
        jobs = await self.stores.jobs.claim_due(LEASE, 100)
        for job in jobs:
            await self.processor.advance(job)
        await self._paid.write_answers()
        return len(jobs)

    async def reconcile(self) -> list[Finding]:
        """Compare the journal with the store until they agree; return all that it lacked."""
        found: list[Finding] = []
        await self.stores.identity.mark_went_back(self.began - timedelta(minutes=2))
        while new := await self.reconciler.run(self.began - timedelta(minutes=2)):
            found += new
            assert all(each.is_resolved for each in new)
        return found

    async def run_until_idle(self) -> None:
        """Work until nothing is due any more, and write the rest of half-written batches."""
        completer = BatchCompleter(self.stores, self.clock, self.events.append)
        idle = 0
        for _ in range(MAX_STEPS):
            idle = 0 if await self.run_due() else idle + 1
            await completer.run_once()
            self.clock.shift(STEP)
            if idle > 2:
                return
        raise AssertionError(f"jobs are still due after {MAX_STEPS} steps")
