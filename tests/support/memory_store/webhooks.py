"""Fakes of the stores of deliveries, endpoints and replays."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil

from core.clock import MILLISECOND, to_ms
from core.errors import RecordUnreadable, StoreUnavailable
from core.jobs.job import Job
from core.retention import DELIVERY_RETENTION, RESULT_GRACE_PERIOD
from core.store.codecs import (
    DELIVERY_ATTEMPT_CODEC,
    DELIVERY_CODEC,
    ENDPOINT_CIRCUIT_CODEC,
    REPLAY_CODEC,
    TIMELINE_ENTRY_CODEC,
    WEBHOOK_CONFIG_CODEC,
)
from core.store.deliveries import (
    AttemptWriteResult,
    UnreadableDelivery,
    parse_unreadable,
)
from core.store.webhook_endpoints import version_digest
from core.transactions.job_update import Change, WriteResult
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from core.webhooks.config import VersionedConfig, WebhookConfig
from core.webhooks.delivery import (
    CircuitUpdate,
    ClaimedDelivery,
    Delivery,
    DeliveryAttempt,
    DeliveryRange,
    DeliveryUpdate,
)
from core.webhooks.endpoint import RedisStream
from core.webhooks.replay import Replay
from tests.support.memory_store.job_index import update_retention
from tests.support.memory_store.state import (
    MemoryDeliveryQueue,
    MemoryState,
    StoredRecord,
    due_members,
)


def enqueue_delivery(memory: MemoryState, delivery: Delivery) -> None:
    """As the part of the Lua scripts with this name."""
    expires_at = memory.ms_after(DELIVERY_RETENTION)
    memory.deliveries[delivery.id] = StoredRecord(
        delivery.version, DELIVERY_CODEC.encode(delivery), expires_at=expires_at
    )
    listed = memory.job_index.setdefault(delivery.tenant, {})
    listed[delivery.id] = to_ms(delivery.created_at)
    oldest = to_ms(memory.clock.now() - DELIVERY_RETENTION)
    for name in [name for name, made in listed.items() if made <= oldest]:
        del listed[name]
    if delivery.next_attempt_at is not None:
        due = to_ms(delivery.next_attempt_at)
        memory.delivery_queue(delivery.queue).waiting[delivery.id] = due
        _schedule_early(
            memory.tenant_queues.setdefault(_tenant_of(delivery.queue), {}), delivery.queue, due
        )
        _schedule_early(memory.outbox, _tenant_of(delivery.queue), due)


def write_deliveries(memory: MemoryState, job: Job, deliveries: Sequence[Delivery]) -> None:
    """Enqueue the new deliveries of a job's step."""
    for delivery in deliveries:
        enqueue_delivery(memory, delivery)
        memory.job_deliveries.setdefault(job.id, []).append(delivery.id)


class MemoryDeliveryStore:
    """Fake of `core.store.deliveries.DeliveryStore`."""

    def __init__(self, memory: MemoryState, policy: EndpointCircuitPolicy | None = None) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory
        self._max_concurrency = (policy or EndpointCircuitPolicy()).max_concurrency

    async def claim_due(
        self, lease: timedelta, limit: int, in_flight: Mapping[str, int] | None = None
    ) -> Sequence[ClaimedDelivery]:
        held = in_flight or {}
        ready = due_members(self._memory.outbox, self._memory.now, limit + len(held))
        shares = {tenant: _fair_share(limit, held.get(tenant, 0)) for tenant in ready}
        turn = ceil(limit / max(sum(share > 0 for share in shares.values()), 1))
        claimed: list[ClaimedDelivery] = []
        for tenant, share in shares.items():
            available = limit - len(claimed)
            if share > 0 and available > 0:
                bounds = (min(turn, share, available), share, limit)
                claimed += self._claim_from_tenant(tenant, bounds, lease)
        self._memory.on_due_change()
        return claimed

    def _claim_from_tenant(
        self, tenant: str, bounds: tuple[int, int, int], lease: timedelta
    ) -> list[ClaimedDelivery]:
        memory, (turn, share, limit) = self._memory, bounds
        queues = memory.tenant_queues.setdefault(tenant, {})
        due = due_members(queues, memory.now, limit)
        queue_turn = ceil(turn / max(len(due), 1))
        claimed: list[ClaimedDelivery] = []
        for name in due:
            left = turn - len(claimed)
            if left > 0:
                claimed += self._claim_from_queue(name, min(queue_turn, left), share, lease)
        if queues:
            memory.outbox[tenant] = max(min(queues.values()), memory.now)
        else:
            memory.outbox.pop(tenant, None)
        return claimed

    def _claim_from_queue(
        self, name: str, turn: int, share: int, lease: timedelta
    ) -> list[ClaimedDelivery]:
        channel, now = self._memory.delivery_queue(name), self._memory.now
        for lost in due_members(channel.in_flight, now, len(channel.in_flight)):
            del channel.in_flight[lost]
            channel.waiting[lost] = now
        held = len(channel.in_flight)
        take = min(turn, _fair_share(share, held), self._available(channel.state) - held)
        claimed = []
        if take > 0 and _until(channel.state) <= now:
            claimed = self._lease(name, channel, take, self._memory.ms_after(lease))
        self._place(name, channel)
        return claimed

    def _lease(
        self, queue: str, channel: MemoryDeliveryQueue, take: int, until: int
    ) -> list[ClaimedDelivery]:
        claimed = []
        for name in due_members(channel.waiting, self._memory.now, take):
            del channel.waiting[name]
            row = self._memory.delivery(name)
            if row is None:
                continue
            try:
                delivery = DELIVERY_CODEC.decode(row.doc)
            except RecordUnreadable:
                self._set_aside(f"{name} {queue}")
                continue
            channel.in_flight[name] = until
            claimed.append(ClaimedDelivery(delivery, channel.state))
        return claimed

    def _set_aside(self, member: str) -> None:
        held = self._memory.unreadable_deliveries
        expired_at = self._memory.now - DELIVERY_RETENTION // MILLISECOND
        for name in [name for name, since in held.items() if since <= expired_at]:
            del held[name]
        held.setdefault(member, self._memory.now)

    async def list_unreadable(self, limit: int) -> Sequence[UnreadableDelivery]:
        held = self._memory.unreadable_deliveries
        ordered = sorted(held, key=lambda member: (held[member], member))
        return [parse_unreadable(member, held[member]) for member in ordered[:limit]]

    async def requeue_unreadable(self, delivery_id: str) -> bool:
        for member in tuple(self._memory.unreadable_deliveries):
            name, _, queue = member.partition(" ")
            if name == delivery_id:
                del self._memory.unreadable_deliveries[member]
                channel = self._memory.delivery_queue(queue)
                channel.waiting[name] = self._memory.now
                self._reschedule(queue, channel)
                return True
        return False

    def _available(self, state: EndpointCircuit) -> int:
        return self._max_concurrency if state.max_concurrency is None else state.max_concurrency

    def _place(self, name: str, channel: MemoryDeliveryQueue) -> int | None:
        times = list(channel.in_flight.values())
        if channel.waiting and len(channel.in_flight) < self._available(channel.state):
            first = min(channel.waiting.values())
            times.append(max(first, _until(channel.state), self._memory.now))
        queues = self._memory.tenant_queues.setdefault(_tenant_of(name), {})
        if not times:
            queues.pop(name, None)
            return None
        queues[name] = min(times)
        return queues[name]

    def _reschedule(self, name: str, channel: MemoryDeliveryQueue) -> None:
        memory, tenant = self._memory, _tenant_of(name)
        at = self._place(name, channel)
        if at is not None:
            _schedule_early(memory.outbox, tenant, at)
        elif not memory.tenant_queues[tenant]:
            memory.outbox.pop(tenant, None)
        memory.on_due_change()

    async def complete_attempt(self, completion: DeliveryUpdate) -> AttemptWriteResult:
        memory, after, move = self._memory, completion.after, completion.circuit
        channel, row = memory.delivery_queue(move.queue), memory.delivery(after.id)
        outcome = WriteResult.NOT_FOUND
        if row is not None:
            outcome = WriteResult.CONFLICT
            if row.version == completion.before.version:
                outcome = self._write(channel, row, after)
            self._note(completion, row)
        if outcome is not WriteResult.CONFLICT or after.id in channel.waiting:
            channel.in_flight.pop(after.id, None)
        if after.job_id is not None and (job := memory.job(after.job_id)) is not None:
            now = memory.clock.now()
            keep = to_ms(max(after.next_attempt_at or now, now) + RESULT_GRACE_PERIOD)
            if job.expires_at is not None:
                job.expires_at = max(job.expires_at, keep)
                if outcome is WriteResult.STORED and after.next_attempt_at is None:
                    update_retention(memory, job, after.job_id)
        learnt = channel.state.version == move.before.version
        if learnt:
            channel.state = _stored(move.after)
        self._reschedule(move.queue, channel)
        return AttemptWriteResult(outcome, learnt)

    def _write(
        self, channel: MemoryDeliveryQueue, row: StoredRecord, after: Delivery
    ) -> WriteResult:
        row.version, row.doc = after.version, DELIVERY_CODEC.encode(after)
        if after.next_attempt_at is None:
            channel.waiting.pop(after.id, None)
        else:
            channel.waiting[after.id] = to_ms(after.next_attempt_at)
        return WriteResult.STORED

    def _note(self, settlement: DeliveryUpdate, row: StoredRecord) -> None:
        memory, name = self._memory, settlement.after.id
        if settlement.attempt is None:
            return
        memory.attempts.setdefault(name, []).append(
            DELIVERY_ATTEMPT_CODEC.encode(settlement.attempt)
        )
        row.expires_at = memory.ms_after(DELIVERY_RETENTION)
        job_id = settlement.after.job_id
        if settlement.entry is not None and job_id is not None and memory.job(job_id) is not None:
            memory.timelines[job_id].append(TIMELINE_ENTRY_CODEC.encode(settlement.entry))

    async def load_circuit(self, name: str) -> EndpointCircuit:
        return self._memory.delivery_queue(name).state

    async def update_circuit(self, update: CircuitUpdate) -> bool:
        channel = self._memory.delivery_queue(update.queue)
        if channel.state.version != update.before.version:
            return False
        channel.state = _stored(update.after)
        self._reschedule(update.queue, channel)
        return True

    async def enqueue(self, before: Delivery | None, after: Delivery) -> bool:
        row = self._memory.delivery(after.id)
        if (row.version if row else 0) != (before.version if before else 0):
            return False
        enqueue_delivery(self._memory, after)
        self._memory.on_due_change()
        return True

    async def load(self, delivery_id: str) -> Delivery | None:
        row = self._memory.delivery(delivery_id)
        return None if row is None else DELIVERY_CODEC.decode(row.doc)

    async def load_own(self, tenant: str, delivery_id: str) -> Delivery | None:
        found = await self.load(delivery_id)
        return found if found is not None and found.tenant == tenant else None

    async def list_attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        return [
            DELIVERY_ATTEMPT_CODEC.decode(row) for row in self._memory.attempts.get(delivery_id, ())
        ]

    async def list_oldest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        return self._between(tenant, delivery_range, limit, backwards=False)

    async def list_newest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        return self._between(tenant, delivery_range, limit, backwards=True)

    def _between(
        self, tenant: str, span: DeliveryRange, limit: int, *, backwards: bool
    ) -> list[str]:
        listed = self._memory.job_index.get(tenant, {})
        ordered = sorted(listed, key=lambda name: (listed[name], name), reverse=backwards)
        if span.after in listed:
            following = ordered[ordered.index(span.after) + 1 :][:limit]
        else:
            following = ordered
        first, last = to_ms(span.since), to_ms(span.until)
        return [name for name in following if first <= listed[name] <= last][:limit]


def webhook_document(memory: MemoryState, tenant: str) -> bytes | None:
    """The tenant's webhook config as stored; it expires with the tenant."""
    row = memory.webhook_configs.get(tenant)
    return None if row is None or memory.tenant(tenant) is None else row.doc


def webhook_config_changed(memory: MemoryState, change: Change) -> bool:
    """Whether the config is another than the one that the deliveries were made for."""
    if change.config_digest is None:
        return False
    return version_digest(webhook_document(memory, change.after.tenant)) != change.config_digest


class MemoryWebhookConfigStore:
    """Fake of `core.store.webhook_endpoints.WebhookConfigStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def load(self, tenant: str) -> WebhookConfig | None:
        document = webhook_document(self._memory, tenant)
        return None if document is None else WEBHOOK_CONFIG_CODEC.decode(document)

    async def load_versioned(self, tenant: str) -> VersionedConfig:
        document = webhook_document(self._memory, tenant)
        config = await self.load(tenant) or WebhookConfig(tenant)
        return VersionedConfig(config, version_digest(document))

    async def list_tenants(self) -> frozenset[str]:
        names = self._memory.webhook_configs
        return frozenset(name for name in names if webhook_document(self._memory, name) is not None)

    async def update(self, update: WebhookConfigUpdate) -> bool:
        memory, tenant = self._memory, update.after.tenant
        row, replay = memory.webhook_configs.get(tenant), memory.replays.get(tenant)
        if (row.version if row else 0) != update.before.version:
            return False
        if update.replay_after is not None:
            before = update.replay_before
            if (replay.version if replay else 0) != (before.version if before else 0):
                return False
            after = update.replay_after
            memory.replays[tenant] = StoredRecord(after.version, REPLAY_CODEC.encode(after))
            memory.replays_due[tenant] = memory.now
        memory.webhook_configs[tenant] = StoredRecord(
            update.after.version, WEBHOOK_CONFIG_CODEC.encode(update.after)
        )
        for delivery in update.deliveries:
            enqueue_delivery(memory, delivery)
        memory.on_due_change()
        return True


class MemoryReplayStore:
    """Fake of `core.store.webhook_replays.ReplayStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def load(self, tenant: str) -> Replay:
        row = self._memory.replays.get(tenant)
        return Replay(tenant) if row is None else REPLAY_CODEC.decode(row.doc)

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Replay]:
        memory = self._memory
        names = due_members(memory.replays_due, memory.now, limit)
        for name in names:
            memory.replays_due[name] = memory.ms_after(lease)
        return [REPLAY_CODEC.decode(memory.replays[name].doc) for name in names]

    async def update(self, before: Replay, after: Replay, due_at: datetime) -> bool:
        memory, row = self._memory, self._memory.replays.get(after.tenant)
        if (row.version if row else 0) != before.version:
            return False
        memory.replays[after.tenant] = StoredRecord(after.version, REPLAY_CODEC.encode(after))
        if after.ranges:
            memory.replays_due[after.tenant] = to_ms(due_at)
        else:
            memory.replays_due.pop(after.tenant, None)
        return True


class MemoryEventStreams:
    """Fake of `EventStreams`. `unavailable` names the Redis servers that do not answer."""

    def __init__(self) -> None:
        """Start with no events."""
        self.written: list[tuple[str, RedisStream, bytes]] = []
        self.unavailable: set[str | None] = set()

    async def append(self, tenant: str, stream: RedisStream, event: bytes) -> None:
        if stream.sink in self.unavailable:
            raise StoreUnavailable
        self.written.append((tenant, stream, event))


def _tenant_of(queue: str) -> str:
    return queue.partition("/")[0]


def _fair_share(free: int, taken: int) -> int:
    return max(ceil((2 * free - taken) / 3), 0)


def _schedule_early(index: dict[str, int], name: str, at: int) -> None:
    index[name] = min(at, index.get(name, at))


def _until(state: EndpointCircuit) -> int:
    return 0 if state.paused_until is None else to_ms(state.paused_until)


def _stored(state: EndpointCircuit) -> EndpointCircuit:
    """Return the record after a round trip through its codec."""
    return ENDPOINT_CIRCUIT_CODEC.decode(ENDPOINT_CIRCUIT_CODEC.encode(state))
