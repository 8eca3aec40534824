"""Tells of batches whose last job has ended: one closing event each. Knows no Redis, no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from core.batches import Batch, BatchView
from core.clock import Clock
from core.ids import IdSource
from core.observability.events import BatchEnded, Emit
from core.transactions.notifications import batch_notices
from core.webhooks.config import WebhookSetup
from core.webhooks.delivery import Delivery
from worker.ports import Webhooks

LEASE: Final = timedelta(seconds=30)
AT_ONCE: Final = 20


class Batches(Protocol):
    """What the closer asks of the batch store."""

    async def claim_ended(self, lease: timedelta, limit: int) -> Sequence[Batch]:
        """Batches that have ended untold, now under a lease."""
        ...

    async def load(self, batch_id: str) -> BatchView | None:
        """A batch with its counts."""
        ...

    async def tell(self, batch: Batch, deliveries: tuple[Delivery, ...]) -> bool:
        """Write the callbacks, unless somebody did so before."""
        ...


@dataclass(frozen=True, slots=True)
class CloserHands:
    """What the closer works with."""

    batches: Batches
    webhooks: Webhooks
    clock: Clock
    ids: IdSource
    emit: Emit


class BatchCloser:
    """Any worker's. A death on the way leaves the batch to the next, when the lease has run out."""

    def __init__(self, hands: CloserHands) -> None:
        """Work with `hands`."""
        self._hands = hands

    async def run_once(self) -> None:
        """Tell of every batch that has ended since."""
        while ended := await self._hands.batches.claim_ended(LEASE, AT_ONCE):
            for batch in ended:
                await self._tell(batch)

    async def _tell(self, batch: Batch) -> None:
        hands, now = self._hands, self._hands.clock.now()
        view = await hands.batches.load(batch.id)
        if view is None:
            return
        setup = await hands.webhooks.load(batch.tenant) or WebhookSetup(batch.tenant)
        notices = batch_notices(view, setup, hands.ids, now)
        if await hands.batches.tell(batch, notices):
            hands.emit(_ended(view, len(notices)))


def _ended(view: BatchView, told: int) -> BatchEnded:
    batch, counts = view.batch, view.counts
    return BatchEnded(
        batch_id=batch.id,
        tenant=batch.tenant,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        age=(view.finished_at or batch.created_at) - batch.created_at,
        deliveries=told,
        trace=batch.trace,
    )
