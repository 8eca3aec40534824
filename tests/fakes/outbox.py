"""Twins of the stores of callbacks, endpoints and replays. `tests/contract` holds them to Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.clock import to_ms
from core.errors import StoreUnavailable
from core.retention import DELIVERY_LIFE, KEEP_AFTER
from core.store.codecs import ATTEMPTS, CHANNELS, DELIVERIES, ENTRIES, REPLAYS, SETUPS
from core.store.deliveries import Settled
from core.store.webhook_endpoints import mark_of, read_setup
from core.transactions.job_update import Outcome
from core.webhooks.circuit_breaker import Channel, ChannelPolicy
from core.webhooks.config import MarkedSetup, WebhookSetup
from core.webhooks.delivery import Claimed
from core.webhooks.replay import Replay
from tests.fakes.listing import release
from tests.fakes.memory import Row, due_first

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from core.jobs.job import Job
    from core.store.deliveries import Span
    from core.store.webhook_endpoints import SetupChange
    from core.transactions.job_update import Change
    from core.webhooks.delivery import ChannelMove, Delivery, DeliveryAttempt, Settlement
    from core.webhooks.endpoint import Stream
    from tests.fakes.memory import Memory, MemoryChannel


def post(memory: Memory, delivery: Delivery) -> None:
    """As the script part of that name."""
    expires_at = memory.after(DELIVERY_LIFE)
    memory.deliveries[delivery.id] = Row(
        delivery.version, DELIVERIES.write(delivery), expires_at=expires_at
    )
    listed = memory.listed.setdefault(delivery.tenant, {})
    listed[delivery.id] = to_ms(delivery.created_at)
    oldest = to_ms(memory.clock.now() - DELIVERY_LIFE)
    for name in [name for name, made in listed.items() if made <= oldest]:
        del listed[name]
    if delivery.due_at is not None:
        due = to_ms(delivery.due_at)
        memory.channel(delivery.channel).waiting[delivery.id] = due
        memory.outbox[delivery.channel] = min(due, memory.outbox.get(delivery.channel, due))


def write_deliveries(memory: Memory, job: Job, deliveries: Sequence[Delivery]) -> None:
    """The new deliveries of a step of a job."""
    for delivery in deliveries:
        post(memory, delivery)
        memory.job_deliveries.setdefault(job.id, []).append(delivery.id)


class MemoryDeliveryStore:
    """Twin of `core.store.deliveries.DeliveryStore`."""

    def __init__(self, memory: Memory, policy: ChannelPolicy | None = None) -> None:
        """Over `memory`."""
        self._memory = memory
        self._at_once = (policy or ChannelPolicy()).at_once

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Claimed]:
        """See `DeliveryStore.claim_due`."""
        memory, now = self._memory, self._memory.now
        ready = due_first(memory.outbox, now, limit)
        share = -(-limit // max(len(ready), 1))
        claimed: list[Claimed] = []
        for name in ready:
            channel = memory.channel(name)
            for lost in due_first(channel.busy, now, len(channel.busy)):
                del channel.busy[lost]
                channel.waiting[lost] = now
            free = self._room(channel.state) - len(channel.busy)
            take = min(share, free, limit - len(claimed))
            if take > 0 and _until(channel.state) <= now:
                claimed += self._lease(channel, take, memory.after(lease))
            self._place(name, channel)
        return claimed

    def _lease(self, channel: MemoryChannel, take: int, until: int) -> list[Claimed]:
        claimed = []
        for name in due_first(channel.waiting, self._memory.now, take):
            del channel.waiting[name]
            row = self._memory.delivery(name)
            if row is not None:
                channel.busy[name] = until
                claimed.append(Claimed(DELIVERIES.read(row.doc), channel.state))
        return claimed

    def _room(self, state: Channel) -> int:
        return self._at_once if state.at_once is None else state.at_once

    def _place(self, name: str, channel: MemoryChannel) -> None:
        times = list(channel.busy.values())
        if channel.waiting and len(channel.busy) < self._room(channel.state):
            first = min(channel.waiting.values())
            times.append(max(first, _until(channel.state), self._memory.now))
        if times:
            self._memory.outbox[name] = min(times)
        else:
            self._memory.outbox.pop(name, None)
        self._memory.changed()

    async def settle(self, settlement: Settlement) -> Settled:
        """See `DeliveryStore.settle`."""
        memory, after, move = self._memory, settlement.after, settlement.channel
        channel, row = memory.channel(move.name), memory.delivery(after.id)
        channel.busy.pop(after.id, None)
        outcome = Outcome.UNKNOWN
        if row is not None:
            outcome = Outcome.STALE
            if row.version == settlement.before.version:
                outcome = self._write(channel, row, after)
            self._note(settlement, row)
        if after.job_id is not None and (job := memory.job(after.job_id)) is not None:
            now = memory.clock.now()
            keep = to_ms(max(after.due_at or now, now) + KEEP_AFTER)
            if job.expires_at is not None:
                job.expires_at = max(job.expires_at, keep)
                if outcome is Outcome.STORED and after.due_at is None:
                    release(memory, job, after.job_id)
        learnt = channel.state.version == move.before.version
        if learnt:
            channel.state = _stored(move.after)
        self._place(move.name, channel)
        return Settled(outcome, learnt)

    def _write(self, channel: MemoryChannel, row: Row, after: Delivery) -> Outcome:
        row.version, row.doc = after.version, DELIVERIES.write(after)
        if after.due_at is None:
            channel.waiting.pop(after.id, None)
        else:
            channel.waiting[after.id] = to_ms(after.due_at)
        return Outcome.STORED

    def _note(self, settlement: Settlement, row: Row) -> None:
        memory, name = self._memory, settlement.after.id
        if settlement.attempt is None:
            return
        memory.attempts.setdefault(name, []).append(ATTEMPTS.write(settlement.attempt))
        row.expires_at = memory.after(DELIVERY_LIFE)
        job_id = settlement.after.job_id
        if settlement.entry is not None and job_id is not None and memory.job(job_id) is not None:
            memory.timelines[job_id].append(ENTRIES.write(settlement.entry))

    async def channel(self, name: str) -> Channel:
        """See `DeliveryStore.channel`."""
        return self._memory.channel(name).state

    async def move_channel(self, move: ChannelMove) -> bool:
        """See `DeliveryStore.move_channel`."""
        channel = self._memory.channel(move.name)
        if channel.state.version != move.before.version:
            return False
        channel.state = _stored(move.after)
        self._place(move.name, channel)
        return True

    async def post(self, before: Delivery | None, after: Delivery) -> bool:
        """See `DeliveryStore.post`."""
        row = self._memory.delivery(after.id)
        if (row.version if row else 0) != (before.version if before else 0):
            return False
        post(self._memory, after)
        self._memory.changed()
        return True

    async def load(self, delivery_id: str) -> Delivery | None:
        """See `DeliveryStore.load`."""
        row = self._memory.delivery(delivery_id)
        return None if row is None else DELIVERIES.read(row.doc)

    async def attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """See `DeliveryStore.attempts`."""
        return [ATTEMPTS.read(row) for row in self._memory.attempts.get(delivery_id, ())]

    async def oldest_first(self, tenant: str, span: Span, limit: int) -> Sequence[str]:
        """See `DeliveryStore.oldest_first`."""
        return self._between(tenant, span, limit, backwards=False)

    async def newest_first(self, tenant: str, span: Span, limit: int) -> Sequence[str]:
        """See `DeliveryStore.newest_first`."""
        return self._between(tenant, span, limit, backwards=True)

    def _between(self, tenant: str, span: Span, limit: int, *, backwards: bool) -> list[str]:
        listed = self._memory.listed.get(tenant, {})
        ordered = sorted(listed, key=lambda name: (listed[name], name), reverse=backwards)
        if span.after in listed:
            following = ordered[ordered.index(span.after) + 1 :][:limit]
        else:
            following = ordered
        first, last = to_ms(span.since), to_ms(span.until)
        return [name for name in following if first <= listed[name] <= last][:limit]


def setup_documents(memory: Memory, tenant: str) -> tuple[bytes | None, bytes | None]:
    """The two records that say where a tenant's events go."""
    known, changed = memory.tenants.get(tenant), memory.setups.get(tenant)
    return None if known is None else known.doc, None if changed is None else changed.doc


def setup_changed(memory: Memory, change: Change) -> bool:
    """Whether the endpoints are others than its callbacks were made for."""
    if change.setup_mark is None:
        return False
    return mark_of(*setup_documents(memory, change.after.tenant)) != change.setup_mark


class MemoryWebhookStore:
    """Twin of `core.store.webhook_endpoints.WebhookStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def load(self, tenant: str) -> WebhookSetup | None:
        """See `WebhookStore.load`."""
        return read_setup(*setup_documents(self._memory, tenant))

    async def marked(self, tenant: str) -> MarkedSetup:
        """See `WebhookStore.marked`."""
        documents = setup_documents(self._memory, tenant)
        return MarkedSetup(read_setup(*documents) or WebhookSetup(tenant), mark_of(*documents))

    async def change(self, change: SetupChange) -> bool:
        """See `WebhookStore.change`."""
        memory, tenant = self._memory, change.after.tenant
        row, replay = memory.setups.get(tenant), memory.replays.get(tenant)
        if (row.version if row else 0) != change.before.version:
            return False
        if change.replay_after is not None:
            before = change.replay_before
            if (replay.version if replay else 0) != (before.version if before else 0):
                return False
            after = change.replay_after
            memory.replays[tenant] = Row(after.version, REPLAYS.write(after))
            memory.replays_due[tenant] = memory.now
        memory.setups[tenant] = Row(change.after.version, SETUPS.write(change.after))
        for delivery in change.deliveries:
            post(memory, delivery)
        memory.changed()
        return True


class MemoryReplayStore:
    """Twin of `core.store.webhook_replays.ReplayStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def load(self, tenant: str) -> Replay:
        """See `ReplayStore.load`."""
        row = self._memory.replays.get(tenant)
        return Replay(tenant) if row is None else REPLAYS.read(row.doc)

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Replay]:
        """See `ReplayStore.claim_due`."""
        memory = self._memory
        names = due_first(memory.replays_due, memory.now, limit)
        for name in names:
            memory.replays_due[name] = memory.after(lease)
        return [REPLAYS.read(memory.replays[name].doc) for name in names]

    async def move(self, before: Replay, after: Replay, due_at: datetime) -> bool:
        """See `ReplayStore.move`."""
        memory, row = self._memory, self._memory.replays.get(after.tenant)
        if (row.version if row else 0) != before.version:
            return False
        memory.replays[after.tenant] = Row(after.version, REPLAYS.write(after))
        if after.stretches:
            memory.replays_due[after.tenant] = to_ms(due_at)
        else:
            memory.replays_due.pop(after.tenant, None)
        return True


class MemorySinks:
    """Twin of `core.store.event_streams.StreamSinks`. `away` names sinks that do not answer."""

    def __init__(self) -> None:
        """Nothing was written yet."""
        self.written: list[tuple[str, Stream, bytes]] = []
        self.away: set[str | None] = set()

    async def append(self, tenant: str, stream: Stream, event: bytes) -> None:
        """See `StreamSinks.append`."""
        if stream.sink in self.away:
            raise StoreUnavailable
        self.written.append((tenant, stream, event))


def _until(state: Channel) -> int:
    return 0 if state.until is None else to_ms(state.until)


def _stored(state: Channel) -> Channel:
    """As it comes back from its bytes."""
    return CHANNELS.read(CHANNELS.write(state))
