"""Writes changes of jobs, with the webhook deliveries and the events that they cause."""

from typing import Final

from core.clock import Clock
from core.jobs.job import Job
from core.observability.events import Emit
from core.observability.job_events import change_events
from core.store.interfaces import WebhookConfigRepository
from core.store.stores import Stores
from core.transactions.job_update import Change, WriteResult
from core.transactions.webhook_deliveries import event_of_change, with_deliveries
from core.webhooks.config import VersionedConfig
from core.webhooks.delivery import WebhookEventType
from worker.jobs.decisions.transition import Reschedule

MAX_CACHED_CONFIGS: Final = 1000
_MAX_TRIES: Final = 5
"""Tenants change their endpoints by hand, so that a second refusal is rare already. After
more refusals the job runs again when its lease ends."""


class JobWriter:
    """Writes what was decided for a job."""

    def __init__(self, stores: Stores, clock: Clock, emit: Emit) -> None:
        """No webhook config is read yet."""
        self._jobs = stores.jobs
        self._configs = WebhookConfigCache(stores.webhook_configs)
        self.clock = clock
        self.emit = emit
        """Where the events of a write go; the worker's other events about a job go there too."""

    async def apply(self, decision: Change | Reschedule) -> Job | None:
        """Write a decision. Returns the next record; None if this worker has nothing more to do.

        That is so after `Reschedule`, and if another process wrote the record first.
        """
        if isinstance(decision, Reschedule):
            await self._jobs.reschedule(decision.job, decision.next_run_at, polled=True)
            return None
        stored = await self.write(decision) is WriteResult.STORED
        return decision.after if stored else None

    async def write(self, change: Change) -> WriteResult:
        """Write a change with its deliveries, and emit its events if it was stored."""
        webhook_event = event_of_change(change.before, change.after)
        if webhook_event is None:
            result = await self._jobs.store(change)
        else:
            result = await self._store_with_deliveries(change, webhook_event)
        if result is WriteResult.STORED:
            for event in change_events(change):
                self.emit(event)
        return result

    async def _store_with_deliveries(self, change: Change, event: WebhookEventType) -> WriteResult:
        result = WriteResult.WEBHOOK_CONFIG_CHANGED
        for _ in range(_MAX_TRIES):
            config = await self._configs.get(change.after.tenant)
            complete = with_deliveries(change, event, config, self.clock.now())
            result = await self._jobs.store(complete)
            if result is not WriteResult.WEBHOOK_CONFIG_CHANGED:
                break
            self._configs.invalidate(config)
        return result


class WebhookConfigCache:
    """Tenants' webhook configs as last read.

    They never expire: the store refuses a write that was made with an outdated one, which costs one
    more round trip only when a config has changed.
    """

    def __init__(
        self, configs: WebhookConfigRepository, max_size: int = MAX_CACHED_CONFIGS
    ) -> None:
        """Keep at most `max_size` configs; the oldest is dropped first."""
        self._configs = configs
        self._max_size = max_size
        self._entries: dict[str, VersionedConfig] = {}

    async def get(self, tenant: str) -> VersionedConfig:
        """Return a tenant's config; it is read from the store if it is not cached."""
        cached = self._entries.get(tenant)
        if cached is not None:
            return cached
        found = await self._configs.load_versioned(tenant)
        if len(self._entries) >= self._max_size:
            self._entries.pop(next(iter(self._entries)))
        self._entries[tenant] = found
        return found

    def invalidate(self, config: VersionedConfig) -> None:
        """Drop a config that the store refused; a newer one that was read meanwhile stays."""
        if self._entries.get(config.config.tenant) is config:
            del self._entries[config.config.tenant]
