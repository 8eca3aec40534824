"""Tells of batches whose last job has ended: one closing event each. Knows no Redis, no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from core.batches import Batch, BatchSnapshot
from core.clock import Clock
from core.ids import IdSource
from core.observability.events import BatchCompleted, Emit
from core.transactions.notifications import batch_deliveries
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import Delivery
from worker.ports import WebhookConfigReader

LEASE: Final = timedelta(seconds=30)
CLAIM_LIMIT: Final = 20


class BatchCompletions(Protocol):
    """What the closer asks of the batch store."""

    async def claim_completed(self, lease: timedelta, limit: int) -> Sequence[Batch]:
        """Batches that have ended untold, now under a lease."""
        ...

    async def load(self, batch_id: str) -> BatchSnapshot | None:
        """A batch with its counts."""
        ...

    async def complete(self, batch: Batch, deliveries: tuple[Delivery, ...]) -> bool:
        """Write the callbacks, unless somebody did so before."""
        ...


@dataclass(frozen=True, slots=True)
class BatchCompleterDependencies:
    """What the closer works with."""

    batches: BatchCompletions
    webhooks: WebhookConfigReader
    clock: Clock
    ids: IdSource
    emit: Emit


class BatchCompleter:
    """Any worker's. A death on the way leaves the batch to the next, when the lease has run out."""

    def __init__(self, deps: BatchCompleterDependencies) -> None:
        """Work with `hands`."""
        self._deps = deps

    async def run_once(self) -> None:
        """Tell of every batch that has ended since."""
        while ended := await self._deps.batches.claim_completed(LEASE, CLAIM_LIMIT):
            for batch in ended:
                await self._complete(batch)

    async def _complete(self, batch: Batch) -> None:
        hands, now = self._deps, self._deps.clock.now()
        view = await hands.batches.load(batch.id)
        if view is None:
            return
        setup = await hands.webhooks.load(batch.tenant) or WebhookConfig(batch.tenant)
        notices = batch_deliveries(view, setup, hands.ids, now)
        if await hands.batches.complete(batch, notices):
            hands.emit(_batch_ended_event(view, len(notices)))


def _batch_ended_event(view: BatchSnapshot, delivery_count: int) -> BatchCompleted:
    batch, counts = view.batch, view.counts
    return BatchCompleted(
        batch_id=batch.id,
        tenant=batch.tenant,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        age=(view.finished_at or batch.created_at) - batch.created_at,
        deliveries=delivery_count,
        trace=batch.trace,
    )
