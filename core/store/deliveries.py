"""The outbox: what couriers claim and settle, and what tenants may read and send anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import MILLISECOND, Clock, to_ms
from core.retention import DELIVERY_RETENTION, RESULT_GRACE_PERIOD
from core.store import keys
from core.store.client import Argument, RedisClient, ttl_seconds
from core.store.codecs import (
    DELIVERY_ATTEMPT_CODEC,
    DELIVERY_CODEC,
    ENDPOINT_CIRCUIT_CODEC,
    TIMELINE_ENTRY_CODEC,
)
from core.store.scripts import LuaScripts
from core.transactions.job_update import WriteResult
from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from core.webhooks.delivery import (
    CircuitUpdate,
    ClaimedDelivery,
    Delivery,
    DeliveryAttempt,
    DeliveryUpdate,
)


@dataclass(frozen=True, slots=True)
class AttemptWriteResult:
    """What the store made of a settlement. `learnt` False: the channel's record was another."""

    result: WriteResult
    circuit_stored: bool


@dataclass(frozen=True, slots=True)
class DeliveryRange:
    """A stretch of a tenant's deliveries by when they were made, and where in it to go on."""

    since: datetime
    until: datetime
    after: str | None = None


class DeliveryStore:
    """Deliveries in Redis.

    Those about a job are born in the step that they tell of (`JobStore.store`).
    """

    def __init__(
        self,
        client: RedisClient,
        scripts: LuaScripts,
        clock: Clock,
        policy: EndpointCircuitPolicy | None = None,
    ) -> None:
        """Every instant that a script compares is this clock's."""
        self._client = client
        self._scripts = scripts
        self._clock = clock
        self._max_concurrency = (policy or EndpointCircuitPolicy()).max_concurrency

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[ClaimedDelivery]:
        """Deliveries that are due and may leave, in turns over channels, under a lease."""
        now = self._clock.now()
        flat = await self._scripts.call(
            "claim_deliveries",
            [keys.OUTBOX],
            [
                to_ms(now),
                to_ms(now + lease),
                limit,
                self._max_concurrency,
                keys.DELIVERY_QUEUE_PREFIX,
                keys.DELIVERY_PREFIX,
            ],
        )
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [
            ClaimedDelivery(DELIVERY_CODEC.decode(document), _parse_circuit(held))
            for document, held in pairs
        ]

    async def complete_attempt(self, completion: DeliveryUpdate) -> AttemptWriteResult:
        """Store what became of a claimed delivery, unless it is no longer what was claimed.

        The attempt is kept even then: it was made. The job lives on for as long as it is needed.
        """
        after, channel = completion.after, completion.circuit
        now = self._clock.now()
        verdict, learnt = await self._scripts.call(
            "complete_attempt",
            [
                keys.delivery(after.id),
                keys.attempts(after.id),
                keys.OUTBOX,
                *_circuit_keys(channel.queue),
                *_job_keys(after.job_id or ""),
            ],
            [
                completion.before.version,
                after.id,
                after.version,
                DELIVERY_CODEC.encode(after),
                _optional_ms(after.next_attempt_at),
                DELIVERY_ATTEMPT_CODEC.encode(completion.attempt) if completion.attempt else "",
                TIMELINE_ENTRY_CODEC.encode(completion.entry) if completion.entry else "",
                ttl_seconds(DELIVERY_RETENTION),
                to_ms(now),
                (max(after.next_attempt_at or now, now) - now + RESULT_GRACE_PERIOD) // MILLISECOND,
                after.job_id or "",
                channel.queue,
                self._max_concurrency,
                channel.before.version,
                *_circuit_arguments(channel.after),
            ],
        )
        return AttemptWriteResult(WriteResult(verdict.decode()), bool(learnt))

    async def load_circuit(self, name: str) -> EndpointCircuit:
        """The breaker over a channel; as new where nothing ever failed."""
        return _parse_circuit(
            await self._client.execute("HGET", keys.endpoint_circuit(name), "doc")
        )

    async def update_circuit(self, update: CircuitUpdate) -> bool:
        """Store a channel's breaker; False when somebody was first."""
        version, document, until, at_once = _circuit_arguments(update.after)
        moved = await self._scripts.call(
            "update_circuit",
            [keys.OUTBOX, *_circuit_keys(update.queue)],
            [
                update.before.version,
                version,
                document,
                until,
                at_once,
                ttl_seconds(DELIVERY_RETENTION),
                update.queue,
                to_ms(self._clock.now()),
                self._max_concurrency,
            ],
        )
        return bool(moved)

    async def enqueue(self, before: Delivery | None, after: Delivery) -> bool:
        """Write a delivery to be sent when due: a new one, or `before` anew. False: too late."""
        name, *arguments = new_delivery_arguments([after], self._clock.now())
        record, channel, listed = new_delivery_keys([after])
        posted = await self._scripts.call(
            "enqueue_delivery",
            [record, keys.OUTBOX, channel, listed],
            [before.version if before else 0, after.version, name, *arguments],
        )
        return bool(posted)

    async def load(self, delivery_id: str) -> Delivery | None:
        """One delivery."""
        document = await self._client.execute("HGET", keys.delivery(delivery_id), "doc")
        return None if document is None else DELIVERY_CODEC.decode(document)

    async def list_attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """What each attempt so far met, oldest first."""
        rows = await self._client.execute("LRANGE", keys.attempts(delivery_id), 0, -1)
        return [DELIVERY_ATTEMPT_CODEC.decode(row) for row in rows]

    async def list_oldest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        """Ids of a tenant's deliveries, at most `limit`. `after` may name one that is gone."""
        return await self._list_ids("", tenant, delivery_range, limit)

    async def list_newest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        """As `list_oldest_first`, the other way round."""
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
        edges = (last, first) if direction else (first, last)
        rows = await self._client.execute(
            f"Z{direction}RANGEBYSCORE", listed, *edges, "LIMIT", 0, limit
        )
        return [row.decode() for row in rows]


def _parse_circuit(document: bytes | None) -> EndpointCircuit:
    return ENDPOINT_CIRCUIT_CODEC.decode(document) if document else EndpointCircuit()


def _circuit_keys(name: str) -> tuple[str, str, str]:
    return keys.delivery_queue(name), keys.deliveries_in_flight(name), keys.endpoint_circuit(name)


def _circuit_arguments(circuit: EndpointCircuit) -> tuple[Argument, Argument, Argument, Argument]:
    at_once = "" if circuit.max_concurrency is None else circuit.max_concurrency
    return (
        circuit.version,
        ENDPOINT_CIRCUIT_CODEC.encode(circuit),
        _optional_ms(circuit.paused_until),
        at_once,
    )


def _job_keys(job_id: str) -> tuple[str, ...]:
    return keys.job(job_id), keys.timeline(job_id), keys.job_deliveries(job_id)


def _optional_ms(instant: datetime | None) -> Argument:
    return "" if instant is None else to_ms(instant)


def _ids_within(flat: Sequence[bytes], first: int, last: int) -> list[str]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [name.decode() for name, score in pairs if first <= float(score) <= last]


def new_delivery_keys(deliveries: Sequence[Delivery]) -> list[str]:
    """Record, channel and the tenant's list of each."""
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
    """For each: id, record, due, made, channel, its life (s), before when others are forgotten."""
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
