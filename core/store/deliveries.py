"""The outbox as couriers see it: what is due, and what an attempt met."""

from collections.abc import Sequence
from datetime import timedelta

from core.changes import RETENTION, Outcome
from core.clock import Clock, to_ms
from core.deliveries import Delivery, DeliveryAttempt
from core.jobs import TimelineEntry
from core.store import keys
from core.store.connection import Wire
from core.store.lua import Scripts
from core.store.records import ATTEMPTS, DELIVERIES, ENTRIES


class DeliveryStore:
    """Deliveries in Redis. They are born in the step that ends their job (`JobStore.store`)."""

    def __init__(self, wire: Wire, scripts: Scripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Delivery]:
        """Deliveries whose next attempt is due, now under a lease."""
        now = self._clock.now()
        documents = await self._scripts.call(
            "claim_due",
            [keys.DELIVERIES, keys.LIMITS, keys.POLL_RATE],
            [keys.DELIVERY_PREFIX, to_ms(now), to_ms(now + lease), limit, ""],
        )
        return [DELIVERIES.read(document) for document in documents]

    async def settle(
        self, before: Delivery, after: Delivery, attempt: DeliveryAttempt, entry: TimelineEntry
    ) -> Outcome:
        """Store an attempt and what follows from it, unless the record is no longer `before`."""
        verdict = await self._scripts.call(
            "settle_delivery",
            [
                keys.delivery(after.id),
                keys.DELIVERIES,
                keys.attempts(after.id),
                keys.timeline(after.job_id),
            ],
            [
                before.version,
                after.id,
                after.version,
                DELIVERIES.write(after),
                "" if after.due_at is None else to_ms(after.due_at),
                ATTEMPTS.write(attempt),
                ENTRIES.write(entry),
                int(RETENTION.total_seconds()),
            ],
        )
        return Outcome(verdict.decode())

    async def load(self, delivery_id: str) -> Delivery | None:
        """One delivery."""
        document = await self._wire.execute("HGET", keys.delivery(delivery_id), "doc")
        return None if document is None else DELIVERIES.read(document)

    async def attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """What each attempt so far met, oldest first."""
        rows = await self._wire.execute("LRANGE", keys.attempts(delivery_id), 0, -1)
        return [ATTEMPTS.read(row) for row in rows]
