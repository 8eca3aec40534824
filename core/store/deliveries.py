"""Webhook deliveries: claims, attempts, circuit breakers of endpoints, and lists."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import MILLISECOND, Clock, from_ms, to_ms
from core.errors import RecordUnreadable
from core.retention import DELIVERY_RETENTION, RESULT_GRACE_PERIOD
from core.store import keys
from core.store.client import Argument, RedisClient, ttl_seconds
from core.store.codecs import (
    DELIVERY_ATTEMPT_CODEC,
    DELIVERY_CODEC,
    ENDPOINT_CIRCUIT_CODEC,
    TIMELINE_ENTRY_CODEC,
    decode_readable,
)
from core.store.scripts import LuaScripts
from core.transactions.job_update import WriteResult
from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from core.webhooks.delivery import (
    CircuitUpdate,
    ClaimedDelivery,
    Delivery,
    DeliveryAttempt,
    DeliveryRange,
    DeliveryUpdate,
)


@dataclass(frozen=True, slots=True)
class AttemptWriteResult:
    """The result of storing an attempt; `circuit_stored` is False if the circuit has changed."""

    result: WriteResult
    circuit_stored: bool


@dataclass(frozen=True, slots=True)
class UnreadableDelivery:
    """A delivery whose record this release cannot read, and since when it is set aside."""

    delivery_id: str
    tenant: str
    since: datetime


class DeliveryStore:
    """Deliveries in Redis.

    Deliveries about a job are created with the change that they report, by `JobStore.store`.
    """

    def __init__(
        self,
        client: RedisClient,
        scripts: LuaScripts,
        clock: Clock,
        policy: EndpointCircuitPolicy | None = None,
    ) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._client = client
        self._scripts = scripts
        self._clock = clock
        self._max_concurrency = (policy or EndpointCircuitPolicy()).max_concurrency

    async def claim_due(
        self, lease: timedelta, limit: int, in_flight: Mapping[str, int] | None = None
    ) -> Sequence[ClaimedDelivery]:
        """Claim due deliveries, in turn over the tenants; no other worker gets them in `lease`.

        `in_flight` is how many the caller has in flight for each tenant. They bound the tenant's
        share, see the script.
        """
        now = self._clock.now()
        flat = await self._scripts.call(
            "claim_deliveries",
            [keys.OUTBOX],
            [
                to_ms(now),
                to_ms(now + lease),
                limit,
                self._max_concurrency,
                *(part for pair in (in_flight or {}).items() for part in pair),
            ],
        )
        claimed = []
        columns = (flat[first::4] for first in range(4))
        for document, held, name, queue in zip(*columns, strict=True):
            try:
                delivery = DELIVERY_CODEC.decode(document)
            except RecordUnreadable:
                await self._set_aside(name.decode(), queue.decode())
                continue
            with suppress(RecordUnreadable):  # its endpoint's circuit: due when the lease ends
                claimed.append(ClaimedDelivery(delivery, _parse_circuit(held)))
        return claimed

    async def _set_aside(self, delivery_id: str, queue: str) -> None:
        """Keep a delivery from being claimed until an operator requeues it.

        It would take a place of its endpoint's again and again.
        """
        now = self._clock.now()
        await self._scripts.call_by_name(
            "set_aside_delivery",
            _unreadable_keys(queue),
            {
                "id": delivery_id,
                "member": f"{delivery_id} {queue}",
                "queue_name": queue,
                "now": to_ms(now),
                "expired_at": to_ms(now - DELIVERY_RETENTION),
                "max_concurrency": self._max_concurrency,
            },
        )

    async def list_unreadable(self, limit: int) -> Sequence[UnreadableDelivery]:
        """Return deliveries that `claim_due` has set aside, the longest first."""
        flat = await self._client.execute(
            "ZRANGE", keys.UNREADABLE_DELIVERIES, 0, limit - 1, "WITHSCORES"
        )
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [parse_unreadable(name.decode(), int(float(score))) for name, score in pairs]

    async def requeue_unreadable(self, delivery_id: str) -> bool:
        """Have a delivery claimed again; return False if it is not set aside."""
        members = await self._client.execute("ZRANGE", keys.UNREADABLE_DELIVERIES, 0, -1)
        for member in (each.decode() for each in members):
            name, _, queue = member.partition(" ")
            if name == delivery_id:
                return await self._requeue(name, member, queue)
        return False

    async def _requeue(self, name: str, member: str, queue: str) -> bool:
        requeued = await self._scripts.call_by_name(
            "requeue_delivery",
            _unreadable_keys(queue),
            {
                "id": name,
                "member": member,
                "queue_name": queue,
                "now": to_ms(self._clock.now()),
                "max_concurrency": self._max_concurrency,
            },
        )
        return bool(requeued)

    async def complete_attempt(self, completion: DeliveryUpdate) -> AttemptWriteResult:
        """Store the result of an attempt, unless the delivery has changed since it was claimed.

        The attempt itself is recorded even then, because it was made. The job's retention is
        extended so that the receiver can fetch the result.
        """
        job_id, queue = completion.after.job_id or "", completion.circuit.queue
        result, circuit_stored = await self._scripts.call_by_name(
            "complete_attempt",
            {
                "delivery": keys.delivery(completion.after.id),
                "attempts": keys.attempts(completion.after.id),
                "outbox": keys.OUTBOX,
                **_queue_keys(queue),
                "job": keys.job(job_id),
                "timeline": keys.timeline(job_id),
                "job_deliveries": keys.job_deliveries(job_id),
            },
            self._completion_arguments(completion),
        )
        return AttemptWriteResult(WriteResult(result.decode()), bool(circuit_stored))

    def _completion_arguments(self, completion: DeliveryUpdate) -> dict[str, Argument]:
        after, circuit, now = completion.after, completion.circuit, self._clock.now()
        attempt, entry = completion.attempt, completion.entry
        last_attempt_at = max(after.next_attempt_at or now, now)
        return {
            "expected": completion.before.version,
            "id": after.id,
            "version": after.version,
            "doc": DELIVERY_CODEC.encode(after),
            "due_at": _optional_ms(after.next_attempt_at),
            "attempt": DELIVERY_ATTEMPT_CODEC.encode(attempt) if attempt else "",
            "entry": TIMELINE_ENTRY_CODEC.encode(entry) if entry else "",
            "ttl_seconds": ttl_seconds(DELIVERY_RETENTION),
            "now": to_ms(now),
            "min_ttl": (last_attempt_at - now + RESULT_GRACE_PERIOD) // MILLISECOND,
            "job_id": after.job_id or "",
            "queue_name": circuit.queue,
            "max_concurrency": self._max_concurrency,
            "circuit_expected": circuit.before.version,
            **_circuit_arguments(circuit.after),
        }

    async def load_circuit(self, name: str) -> EndpointCircuit:
        """Return the circuit breaker of a delivery queue; a new one if none is stored."""
        return _parse_circuit(
            await self._client.execute("HGET", keys.endpoint_circuit(name), "doc")
        )

    async def update_circuit(self, update: CircuitUpdate) -> bool:
        """Store a circuit breaker; return False if it has changed since it was read."""
        stored = await self._scripts.call_by_name(
            "update_circuit",
            {"outbox": keys.OUTBOX, **_queue_keys(update.queue)},
            {
                "queue_name": update.queue,
                "now": to_ms(self._clock.now()),
                "max_concurrency": self._max_concurrency,
                "ttl_seconds": ttl_seconds(DELIVERY_RETENTION),
                "circuit_expected": update.before.version,
                **_circuit_arguments(update.after),
            },
        )
        return bool(stored)

    async def enqueue(self, before: Delivery | None, after: Delivery) -> bool:
        """Queue a new delivery, or `before` again; return False if that has changed since."""
        name, *arguments = new_delivery_arguments([after], self._clock.now())
        record, queue, index = new_delivery_keys([after])
        queued = await self._scripts.call(
            "enqueue_delivery",
            [record, keys.OUTBOX, queue, index],
            [before.version if before else 0, after.version, name, *arguments],
        )
        return bool(queued)

    async def load(self, delivery_id: str) -> Delivery | None:
        """Return a delivery; None if there is none."""
        document = await self._client.execute("HGET", keys.delivery(delivery_id), "doc")
        return None if document is None else DELIVERY_CODEC.decode(document)

    async def load_own(self, tenant: str, delivery_id: str) -> Delivery | None:
        """Return a tenant's delivery; None if there is none, or it is another tenant's.

        Both take the same path, and with it the same time.
        """
        listed = keys.tenant_deliveries(tenant)
        if await self._client.execute("ZSCORE", listed, delivery_id) is None:
            return None
        return await self.load(delivery_id)

    async def list_attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """Return a delivery's attempts, oldest first."""
        rows = await self._client.execute("LRANGE", keys.attempts(delivery_id), 0, -1)
        return decode_readable(DELIVERY_ATTEMPT_CODEC, rows)

    async def list_oldest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        """Return ids of a tenant's deliveries. The range's `after` may name an expired one."""
        return await self._list_ids("", tenant, delivery_range, limit)

    async def list_newest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        """As `list_oldest_first`, newest first."""
        return await self._list_ids("REV", tenant, delivery_range, limit)

    async def _list_ids(
        self, direction: str, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        listed, first, last = (
            keys.tenant_deliveries(tenant),
            to_ms(delivery_range.since),
            to_ms(delivery_range.until),
        )
        rank: int | None = None
        if delivery_range.after is not None:
            rank = await self._client.execute(f"Z{direction}RANK", listed, delivery_range.after)
        if rank is not None:
            stop = rank + limit
            flat = await self._client.execute(
                f"Z{direction}RANGE", listed, rank + 1, stop, "WITHSCORES"
            )
            return _ids_within(flat, first, last)
        bounds = (last, first) if direction else (first, last)
        rows = await self._client.execute(
            f"Z{direction}RANGEBYSCORE", listed, *bounds, "LIMIT", 0, limit
        )
        return [row.decode() for row in rows]


def _parse_circuit(document: bytes | None) -> EndpointCircuit:
    return ENDPOINT_CIRCUIT_CODEC.decode(document) if document else EndpointCircuit()


def _queue_keys(queue: str) -> dict[str, str]:
    return {
        "delivery_queue": keys.delivery_queue(queue),
        "in_flight": keys.deliveries_in_flight(queue),
        "circuit": keys.endpoint_circuit(queue),
    }


def _unreadable_keys(queue: str) -> dict[str, str]:
    index = {"unreadable_deliveries": keys.UNREADABLE_DELIVERIES, "outbox": keys.OUTBOX}
    return index | _queue_keys(queue)


def parse_unreadable(member: str, since: int) -> UnreadableDelivery:
    """Return a member of the index of unreadable deliveries, set aside at `since` (ms)."""
    name, _, queue = member.partition(" ")
    return UnreadableDelivery(name, queue.partition("/")[0], from_ms(since))


def _circuit_arguments(circuit: EndpointCircuit) -> dict[str, Argument]:
    limit = circuit.max_concurrency
    return {
        "circuit_version": circuit.version,
        "circuit_doc": ENDPOINT_CIRCUIT_CODEC.encode(circuit),
        "circuit_until": _optional_ms(circuit.paused_until),
        "circuit_max_concurrency": "" if limit is None else limit,
    }


def _optional_ms(instant: datetime | None) -> Argument:
    return "" if instant is None else to_ms(instant)


def _ids_within(flat: Sequence[bytes], first: int, last: int) -> list[str]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [name.decode() for name, score in pairs if first <= float(score) <= last]


def new_delivery_keys(deliveries: Sequence[Delivery]) -> list[str]:
    """Return the keys of each delivery: record, queue, tenant's index."""
    return [
        key
        for delivery in deliveries
        for key in (
            keys.delivery(delivery.id),
            keys.delivery_queue(delivery.queue),
            keys.tenant_deliveries(delivery.tenant),
        )
    ]


def new_delivery_arguments(deliveries: Sequence[Delivery], now: datetime) -> list[Argument]:
    """Return of each: id, record, due (ms), created (ms), queue, TTL (s), prune before (ms)."""
    flat: list[Argument] = []
    for delivery in deliveries:
        flat += [
            delivery.id,
            DELIVERY_CODEC.encode(delivery),
            "" if delivery.next_attempt_at is None else to_ms(delivery.next_attempt_at),
            to_ms(delivery.created_at),
            delivery.queue,
            ttl_seconds(DELIVERY_RETENTION),
            to_ms(now - DELIVERY_RETENTION),
        ]
    return flat
