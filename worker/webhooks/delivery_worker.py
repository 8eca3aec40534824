"""Takes due callbacks to their endpoints: look, decide, send, decide, store, tell.

Delivery never changes a job's state. What an attempt came to is stored after the fact: a death in
between sends the event again, under the same id.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

from core.clock import Clock
from core.errors import StoreUnavailable
from core.ids import IdSource
from core.jobs.timeline import Note, TimelineEntry
from core.observability.events import DeliveryAttempted, Emit, EndpointDisabled
from core.store.deliveries import Settled
from core.store.webhook_endpoints import SetupChange
from core.transactions.notifications import disabling_notices
from core.webhooks.circuit_breaker import Channel, ChannelPolicy
from core.webhooks.config import WebhookSetup
from core.webhooks.delivery import (
    ChannelMove,
    Claimed,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Settlement,
)
from core.webhooks.endpoint import Disabled, Endpoint, Stream
from worker.ports import Records, Webhooks
from worker.webhooks.decisions import (
    Append,
    Known,
    NoSend,
    disabling,
    errand_of,
    learnt,
    settled,
    took_ms,
)
from worker.webhooks.outcomes import Delivered, Kind, Outcome, Refused
from worker.webhooks.retry_schedule import SchedulePolicy, next_attempt
from worker.webhooks.sender import Attempt

_TRIES = 5


class Outbox(Protocol):
    """What the courier asks of the delivery store."""

    async def settle(self, settlement: Settlement) -> Settled:
        """Store what became of a claimed delivery."""
        ...

    async def channel(self, name: str) -> Channel:
        """The breaker over a channel."""
        ...

    async def move_channel(self, move: ChannelMove) -> bool:
        """Store a channel's breaker, unless somebody was first."""
        ...


class Setups(Webhooks, Protocol):
    """What the courier asks of the store of endpoints."""

    async def change(self, change: SetupChange) -> bool:
        """Store a tenant's next setup, unless somebody was first."""
        ...


class Sends(Protocol):
    """What makes one attempt by HTTP."""

    async def send(self, attempt: Attempt) -> Outcome:
        """Make it, and say what it came to."""
        ...


class Sinks(Protocol):
    """What writes to Redis streams."""

    async def append(self, tenant: str, stream: Stream, event: bytes) -> None:
        """Add one event. Raises `StoreUnavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class CourierHands:
    """What the courier works with."""

    outbox: Outbox
    jobs: Records
    setups: Setups
    sender: Sends
    sinks: Sinks
    clock: Clock
    rng: Random
    ids: IdSource
    emit: Emit


@dataclass(frozen=True, slots=True)
class CourierPolicy:
    """The numbers of a delivery's life."""

    schedule: SchedulePolicy = field(default_factory=SchedulePolicy)
    channels: ChannelPolicy = field(default_factory=ChannelPolicy)


@dataclass(frozen=True, slots=True)
class _Made:
    """An attempt that was made: what was known before it, what it came to, and when it ended."""

    known: Known
    channel: Channel
    outcome: Outcome
    now: datetime


class Courier:
    """Makes one attempt at a time for each delivery that it is handed."""

    def __init__(self, hands: CourierHands, policy: CourierPolicy) -> None:
        """Attempts and pauses follow `policy`."""
        self._hands = hands
        self._policy = policy

    async def deliver(self, claimed: Claimed) -> None:
        """Make the next attempt; one that nobody can take is ended or held without a call."""
        known = await self._look(claimed.delivery)
        errand = errand_of(known, self._hands.clock.now(), self._policy.schedule)
        if isinstance(errand, NoSend):
            await self._end_unsent(claimed, errand)
            return
        outcome = await self._send(errand)
        made = _Made(known, claimed.channel, outcome, self._hands.clock.now())
        await self._record(made)

    async def _look(self, delivery: Delivery) -> Known:
        setups, jobs = self._hands.setups, self._hands.jobs
        if delivery.job_id is None:
            return Known(delivery, None, await setups.load(delivery.tenant))
        record, setup = await asyncio.gather(
            jobs.load(delivery.job_id), setups.load(delivery.tenant)
        )
        return Known(delivery, record, setup)

    async def _send(self, errand: Attempt | Append) -> Outcome:
        if isinstance(errand, Attempt):
            return await self._hands.sender.send(errand)
        began = self._hands.clock.monotonic()
        try:
            await self._hands.sinks.append(errand.tenant, errand.stream, errand.event)
        except StoreUnavailable as error:
            return Refused(Kind.CONNECT_ERROR, self._since(began), excerpt=error.detail)
        return Delivered(0, self._since(began))

    def _since(self, began: timedelta) -> timedelta:
        return self._hands.clock.monotonic() - began

    async def _record(self, made: _Made) -> None:
        channel = learnt(made.channel, made.outcome, made.known, made.now, self._policy.channels)
        why = disabling(channel, made.outcome, made.known, made.now, self._policy.channels)
        if why is not None and made.known.endpoint is not None:
            await self._disable(made.known.delivery.tenant, made.known.endpoint.id, why)
            channel = made.channel.forgotten()
        after = self._after(made, why)
        stored = await self._settle(made, channel, after)
        self._tell(made, after)
        if not stored.learnt:
            await self._learn(made)

    def _after(self, made: _Made, why: Disabled | None) -> Delivery:
        delivery = made.known.delivery
        number = delivery.attempts - delivery.attempts_before + 1
        due_at = next_attempt(
            number, made.outcome, made.now, self._hands.rng, self._policy.schedule
        )
        after = settled(delivery, made.outcome, due_at, made.now)
        if why is None:
            return after
        # It is owed to the endpoint as soon as that is enabled again.
        return replace(after, state=DeliveryState.HELD, due_at=None, finished_at=made.now)

    async def _settle(self, made: _Made, channel: Channel, after: Delivery) -> Settled:
        before = made.known.delivery
        return await self._hands.outbox.settle(
            Settlement(
                before=before,
                after=after,
                channel=ChannelMove(before.channel, made.channel, channel),
                attempt=_attempt(after, made.outcome, made.now),
                entry=_entry(after, made),
            )
        )

    async def _learn(self, made: _Made) -> None:
        """Another courier changed the channel's record meanwhile: note the outcome upon theirs."""
        name = made.known.delivery.channel
        for _ in range(_TRIES):
            held = await self._hands.outbox.channel(name)
            after = learnt(held, made.outcome, made.known, made.now, self._policy.channels)
            if after == held or await self._hands.outbox.move_channel(
                ChannelMove(name, held, after)
            ):
                return

    async def _disable(self, tenant: str, endpoint_id: str, why: Disabled) -> None:
        """Disable an endpoint, and tell the tenant's others in the same step."""
        hands, now = self._hands, self._hands.clock.now()
        for _ in range(_TRIES):
            setup = await hands.setups.load(tenant)
            end = setup.find(endpoint_id) if setup is not None else None
            if setup is None or end is None or end.disabled is not None:
                return
            change = _disabling(setup, end, why, hands.ids, now)
            if await hands.setups.change(change):
                hands.emit(EndpointDisabled(tenant, endpoint_id, why))
                return

    async def _end_unsent(self, claimed: Claimed, errand: NoSend) -> None:
        before, now = claimed.delivery, self._hands.clock.now()
        after = before.ended(errand.state, errand.why, now)
        unmoved = ChannelMove(before.channel, claimed.channel, claimed.channel)
        await self._hands.outbox.settle(Settlement(before, after, unmoved))

    def _tell(self, made: _Made, after: Delivery) -> None:
        outcome = made.outcome
        self._hands.emit(
            DeliveryAttempted(
                delivery_id=after.id,
                job_id=after.job_id,
                tenant=after.tenant,
                attempt=after.attempts,
                outcome=outcome.word,
                http_status=outcome.status or None,
                duration=outcome.took,
                state=after.state,
                lag=_lag(after),
            )
        )


def _disabling(
    setup: WebhookSetup, end: Endpoint, why: Disabled, ids: IdSource, now: datetime
) -> SetupChange:
    after = setup.disabling(end.id, why, now)
    lost = after.endpoint(end.id)
    return SetupChange(setup, after, disabling_notices(after, lost, ids, now))


def _attempt(after: Delivery, outcome: Outcome, now: datetime) -> DeliveryAttempt:
    return DeliveryAttempt(
        at=now,
        number=after.attempts,
        outcome=outcome.word,
        took_ms=took_ms(outcome),
        http_status=outcome.status or None,
        excerpt=outcome.excerpt or None,
    )


def _lag(delivery: Delivery) -> timedelta | None:
    """How long the event took to arrive; None while it has not."""
    if delivery.state is not DeliveryState.DELIVERED or delivery.finished_at is None:
        return None
    return delivery.finished_at - delivery.opened_at


def _entry(after: Delivery, made: _Made) -> TimelineEntry | None:
    if made.known.record is None:
        return None
    return TimelineEntry(
        at=made.now,
        note=Note.DELIVERY,
        what=made.outcome.word,
        state=made.known.record.job.state,
        detail=after.id,
        http_status=made.outcome.status or None,
        count=after.attempts,
    )
