"""Takes due callbacks to their receivers: render, sign and send, decide, store, tell.

Delivery never changes a job's state. What an attempt came to is stored after the fact: a death in
between sends the event again, under the same id.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

from core.changes import Outcome as Stored
from core.clock import Clock
from core.deliveries import Delivery, DeliveryAttempt, DeliveryState
from core.documents import event_document
from core.events import DeliveryAttempted, Emit
from core.jobs import JobRecord, JobState, Note, TimelineEntry
from core.tenants import Tenant
from worker.ports import Jobs, Tenants
from worker.webhooks.outcomes import Delivered, Outcome
from worker.webhooks.schedule import SchedulePolicy, next_attempt
from worker.webhooks.sender import Attempt


class Outbox(Protocol):
    """What the courier asks of the delivery store."""

    async def settle(
        self, before: Delivery, after: Delivery, attempt: DeliveryAttempt, entry: TimelineEntry
    ) -> Stored:
        """Store what an attempt came to."""
        ...


class Sends(Protocol):
    """What makes one attempt."""

    async def send(self, attempt: Attempt) -> Outcome:
        """Make it, and say what it came to."""
        ...


@dataclass(frozen=True, slots=True)
class CourierHands:
    """What the courier works with."""

    outbox: Outbox
    jobs: Jobs
    tenants: Tenants
    sender: Sends
    clock: Clock
    rng: Random
    emit: Emit


class Courier:
    """Makes one attempt at a time for each delivery that it is handed."""

    def __init__(self, hands: CourierHands, schedule: SchedulePolicy) -> None:
        """Attempts follow `schedule`."""
        self._hands = hands
        self._schedule = schedule

    async def deliver(self, delivery: Delivery) -> None:
        """Make the next attempt. One without a job, or without a secret, is given up uncalled."""
        record = await self._hands.jobs.load(delivery.job_id)
        tenant = await self._hands.tenants.load(delivery.tenant)
        if record is None or tenant is None or not tenant.webhook_secrets:
            await self._give_up(delivery)
            return
        outcome = await self._hands.sender.send(_attempt(delivery, record, tenant))
        now = self._hands.clock.now()
        due_at = next_attempt(delivery.attempts + 1, outcome, now, self._hands.rng, self._schedule)
        await self._settle(delivery, outcome, due_at, now, record.job.state)

    async def _settle(
        self,
        delivery: Delivery,
        outcome: Outcome,
        due_at: datetime | None,
        now: datetime,
        state: JobState,
    ) -> None:
        after = settled(delivery, outcome, due_at, now)
        attempt = DeliveryAttempt(
            at=now,
            number=after.attempts,
            outcome=outcome.word,
            took_ms=round(outcome.took / timedelta(milliseconds=1)),
            http_status=outcome.status,
            excerpt=outcome.excerpt or None,
        )
        entry = TimelineEntry(
            at=now,
            note=Note.DELIVERY,
            what=outcome.word,
            state=state,
            detail=delivery.id,
            http_status=outcome.status,
            count=after.attempts,
        )
        await self._hands.outbox.settle(delivery, after, attempt, entry)
        self._tell(after, outcome)

    async def _give_up(self, delivery: Delivery) -> None:
        now = self._hands.clock.now()
        after = replace(
            delivery,
            version=delivery.version + 1,
            state=DeliveryState.FAILED,
            due_at=None,
            last_outcome="orphaned",
            finished_at=now,
        )
        attempt = DeliveryAttempt(at=now, number=delivery.attempts, outcome="orphaned", took_ms=0)
        entry = TimelineEntry(
            at=now, note=Note.DELIVERY, what="orphaned", state=JobState.FAILED, detail=delivery.id
        )
        await self._hands.outbox.settle(delivery, after, attempt, entry)

    def _tell(self, delivery: Delivery, outcome: Outcome) -> None:
        self._hands.emit(
            DeliveryAttempted(
                delivery_id=delivery.id,
                job_id=delivery.job_id,
                tenant=delivery.tenant,
                number=delivery.attempts,
                outcome=outcome.word,
                http_status=outcome.status,
                took=outcome.took,
            )
        )


def settled(
    delivery: Delivery, outcome: Outcome, due_at: datetime | None, now: datetime
) -> Delivery:
    """The record after an attempt; without a next one it has ended, well or not."""
    if isinstance(outcome, Delivered):
        state = DeliveryState.DELIVERED
    else:
        state = DeliveryState.PENDING if due_at is not None else DeliveryState.FAILED
    return replace(
        delivery,
        version=delivery.version + 1,
        attempts=delivery.attempts + 1,
        state=state,
        due_at=due_at,
        last_outcome=outcome.word,
        finished_at=None if due_at is not None else now,
    )


def _attempt(delivery: Delivery, record: JobRecord, tenant: Tenant) -> Attempt:
    return Attempt(
        webhook_id=delivery.id,
        url=delivery.url,
        body=event_document(record, delivery.event, delivery.created_at),
        secrets=tenant.webhook_secrets,
        number=delivery.attempts + 1,
    )
