"""Writes job updates together with the webhook deliveries that they cause."""

from dataclasses import dataclass
from typing import Final

from core.clock import Clock
from core.ids import IdSource
from core.jobs.job import Job
from core.observability.events import Emit
from core.observability.job_events import handover_events
from core.transactions.job_update import Change, WriteResult
from core.transactions.notifications import needs_endpoints, with_deliveries
from core.webhooks.config import VersionedConfig
from worker.jobs import job_events
from worker.jobs.decisions.transition import DecisionContext, Reschedule, Transition
from worker.ports import JobRepository, SubmitGate, TenantReader, Upstream, VersionedConfigReader


@dataclass(frozen=True, slots=True)
class JobDependencies:
    """What the lifecycle works with. `name` is this worker's own, unlike any other's."""

    worker_id: str
    jobs: JobRepository
    tenants: TenantReader
    webhook_configs: VersionedConfigReader
    upstream: Upstream
    submit_gate: SubmitGate
    clock: Clock
    ids: IdSource
    emit: Emit
    decision_context: DecisionContext


class JobWriter:
    """Writes what was decided."""

    def __init__(self, deps: JobDependencies) -> None:
        """Write by `hands`."""
        self._deps = deps
        self._job_store = NotifyingJobStore(deps.jobs, deps.webhook_configs, deps.ids, deps.clock)

    async def apply(self, job: Job, decision: Transition | Reschedule) -> Job | None:
        """Make a decision true. None: there is nothing more to do here, or somebody was first."""
        if isinstance(decision, Reschedule):
            await self._deps.jobs.reschedule(job, decision.next_run_at, polled=True)
            return None
        stored = await self.apply_transition(job, decision) is WriteResult.STORED
        return decision.after if stored else None

    async def apply_transition(self, job: Job, transition: Transition) -> WriteResult:
        """Make a move true, or say what stood in its way."""
        change = Change(
            before=job,
            after=transition.after,
            entries=() if transition.entry is None else (transition.entry,),
            output=transition.output,
            expected_leader=transition.expected_leader,
        )
        outcome = await self._job_store.store(change)
        if outcome is WriteResult.STORED:
            for event in job_events.job_updated_events(change, transition):
                self._deps.emit(event)
        return outcome

    async def hand_over(self, change: Change) -> None:
        """Write a handover (see `core.deduplication.coalescing`), unless the record has changed."""
        if await self._job_store.store(change) is WriteResult.STORED:
            for event in handover_events(change):
                self._deps.emit(event)


MAX_CACHED_CONFIGS: Final = 1000


_MAX_TRIES: Final = 5
"""Endpoints change by hand; a change that is refused more often waits for the job's next look."""


class NotifyingJobStore:
    """What stands before the job store, and knows whom a change is to be told to."""

    def __init__(
        self, jobs: JobRepository, configs: VersionedConfigReader, ids: IdSource, clock: Clock
    ) -> None:
        """Read no endpoints yet."""
        self._jobs = jobs
        self._configs = WebhookConfigCache(configs)
        self._ids = ids
        self._clock = clock

    async def store(self, change: Change) -> WriteResult:
        """Make a change true, or say why not. Its callbacks are made here."""
        if not needs_endpoints(change.before, change.after):
            return await self._jobs.store(change)
        outcome = WriteResult.WEBHOOK_CONFIG_CHANGED
        for _ in range(_MAX_TRIES):
            known = await self._configs.get(change.after.tenant)
            announcing = with_deliveries(change, known, self._ids, self._clock.now())
            outcome = await self._jobs.store(announcing)
            if outcome is not WriteResult.WEBHOOK_CONFIG_CHANGED:
                break
            self._configs.invalidate(known)
        return outcome


class WebhookConfigCache:
    """Tenants' endpoints as they were read last. Whether they still are, only the store knows."""

    def __init__(self, configs: VersionedConfigReader, max_size: int = MAX_CACHED_CONFIGS) -> None:
        """Keep at most so many."""
        self._configs = configs
        self._max_size = max_size
        self._entries: dict[str, VersionedConfig] = {}

    async def get(self, tenant: str) -> VersionedConfig:
        """A tenant's endpoints, from the store only where they are not kept."""
        kept = self._entries.get(tenant)
        if kept is not None:
            return kept
        found = await self._configs.load_versioned(tenant)
        if len(self._entries) >= self._max_size:
            self._entries.pop(next(iter(self._entries)))
        self._entries[tenant] = found
        return found

    def invalidate(self, config: VersionedConfig) -> None:
        """These are in force no more. What was read since stays."""
        if self._entries.get(config.config.tenant) is config:
            del self._entries[config.config.tenant]
