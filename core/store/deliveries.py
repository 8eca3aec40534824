"""The outbox: what couriers claim and settle, and what tenants may read and send anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import MILLISECOND, Clock, to_ms
from core.retention import DELIVERY_LIFE, KEEP_AFTER
from core.store import keys
from core.store.client import Argument, Wire
from core.store.codecs import ATTEMPTS, CHANNELS, DELIVERIES, ENTRIES
from core.store.scripts import Scripts
from core.transactions.job_update import Outcome
from core.webhooks.circuit_breaker import Channel, ChannelPolicy
from core.webhooks.delivery import ChannelMove, Claimed, Delivery, DeliveryAttempt, Settlement


@dataclass(frozen=True, slots=True)
class Settled:
    """What the store made of a settlement. `learnt` False: the channel's record was another."""

    outcome: Outcome
    learnt: bool


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a tenant's deliveries by when they were made, and where in it to go on."""

    since: datetime
    until: datetime
    after: str | None = None


class DeliveryStore:
    """Deliveries in Redis.

    Those about a job are born in the step that they tell of (`JobStore.store`).
    """

    def __init__(
        self, wire: Wire, scripts: Scripts, clock: Clock, policy: ChannelPolicy | None = None
    ) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock
        self._at_once = (policy or ChannelPolicy()).at_once

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Claimed]:
        """Deliveries that are due and may leave, in turns over channels, under a lease."""
        now = self._clock.now()
        flat = await self._scripts.call(
            "claim_deliveries",
            [keys.OUTBOX],
            [
                to_ms(now),
                to_ms(now + lease),
                limit,
                self._at_once,
                keys.CHANNEL_PREFIX,
                keys.DELIVERY_PREFIX,
            ],
        )
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [Claimed(DELIVERIES.read(document), _channel(held)) for document, held in pairs]

    async def settle(self, settlement: Settlement) -> Settled:
        """Store what became of a claimed delivery, unless it is no longer what was claimed.

        The attempt is kept even then: it was made. The job lives on for as long as it is needed.
        """
        after, channel = settlement.after, settlement.channel
        now = self._clock.now()
        verdict, learnt = await self._scripts.call(
            "complete_attempt",
            [
                keys.delivery(after.id),
                keys.attempts(after.id),
                keys.OUTBOX,
                *_channel_keys(channel.name),
                *_job_keys(after.job_id or ""),
            ],
            [
                settlement.before.version,
                after.id,
                after.version,
                DELIVERIES.write(after),
                _score(after.due_at),
                ATTEMPTS.write(settlement.attempt) if settlement.attempt else "",
                ENTRIES.write(settlement.entry) if settlement.entry else "",
                life_seconds(DELIVERY_LIFE),
                to_ms(now),
                (max(after.due_at or now, now) - now + KEEP_AFTER) // MILLISECOND,
                after.job_id or "",
                channel.name,
                self._at_once,
                channel.before.version,
                *_channel_fields(channel.after),
            ],
        )
        return Settled(Outcome(verdict.decode()), bool(learnt))

    async def channel(self, name: str) -> Channel:
        """The breaker over a channel; as new where nothing ever failed."""
        return _channel(await self._wire.execute("HGET", keys.channel_state(name), "doc"))

    async def move_channel(self, move: ChannelMove) -> bool:
        """Store a channel's breaker; False when somebody was first."""
        version, document, until, at_once = _channel_fields(move.after)
        moved = await self._scripts.call(
            "update_circuit",
            [keys.OUTBOX, *_channel_keys(move.name)],
            [
                move.before.version,
                version,
                document,
                until,
                at_once,
                life_seconds(DELIVERY_LIFE),
                move.name,
                to_ms(self._clock.now()),
                self._at_once,
            ],
        )
        return bool(moved)

    async def post(self, before: Delivery | None, after: Delivery) -> bool:
        """Write a delivery to be sent when due: a new one, or `before` anew. False: too late."""
        name, *arguments = posted_arguments([after], self._clock.now())
        record, channel, listed = posted_keys([after])
        posted = await self._scripts.call(
            "enqueue_delivery",
            [record, keys.OUTBOX, channel, listed],
            [before.version if before else 0, after.version, name, *arguments],
        )
        return bool(posted)

    async def load(self, delivery_id: str) -> Delivery | None:
        """One delivery."""
        document = await self._wire.execute("HGET", keys.delivery(delivery_id), "doc")
        return None if document is None else DELIVERIES.read(document)

    async def attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """What each attempt so far met, oldest first."""
        rows = await self._wire.execute("LRANGE", keys.attempts(delivery_id), 0, -1)
        return [ATTEMPTS.read(row) for row in rows]

    async def oldest_first(self, tenant: str, span: Span, limit: int) -> Sequence[str]:
        """Ids of a tenant's deliveries, at most `limit`. `after` may name one that is gone."""
        return await self._ids("", tenant, span, limit)

    async def newest_first(self, tenant: str, span: Span, limit: int) -> Sequence[str]:
        """As `oldest_first`, the other way round."""
        return await self._ids("REV", tenant, span, limit)

    async def _ids(self, way: str, tenant: str, span: Span, limit: int) -> Sequence[str]:
        listed, first, last = keys.tenant_deliveries(tenant), to_ms(span.since), to_ms(span.until)
        rank: int | None = None
        if span.after is not None:
            rank = await self._wire.execute(f"Z{way}RANK", listed, span.after)
        if rank is not None:
            stop = rank + limit
            flat = await self._wire.execute(f"Z{way}RANGE", listed, rank + 1, stop, "WITHSCORES")
            return _within(flat, first, last)
        edges = (last, first) if way else (first, last)
        rows = await self._wire.execute(f"Z{way}RANGEBYSCORE", listed, *edges, "LIMIT", 0, limit)
        return [row.decode() for row in rows]


def _channel(document: bytes | None) -> Channel:
    return CHANNELS.read(document) if document else Channel()


def _channel_keys(name: str) -> tuple[str, str, str]:
    return keys.channel(name), keys.channel_busy(name), keys.channel_state(name)


def _channel_fields(channel: Channel) -> tuple[Argument, Argument, Argument, Argument]:
    at_once = "" if channel.at_once is None else channel.at_once
    return channel.version, CHANNELS.write(channel), _score(channel.until), at_once


def _job_keys(job_id: str) -> tuple[str, ...]:
    return keys.job(job_id), keys.timeline(job_id), keys.job_deliveries(job_id)


def _score(instant: datetime | None) -> Argument:
    return "" if instant is None else to_ms(instant)


def _within(flat: Sequence[bytes], first: int, last: int) -> list[str]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [name.decode() for name, score in pairs if first <= float(score) <= last]


def posted_keys(deliveries: Sequence[Delivery]) -> list[str]:
    """Record, channel and the tenant's list of each."""
    return [
        key
        for delivery in deliveries
        for key in (
            keys.delivery(delivery.id),
            keys.channel(delivery.channel),
            keys.tenant_deliveries(delivery.tenant),
        )
    ]


def posted_arguments(deliveries: Sequence[Delivery], now: datetime) -> list[Argument]:
    """For each: id, record, due, made, channel, its life (s), before when others are forgotten."""
    flat: list[Argument] = []
    for delivery in deliveries:
        flat += [
            delivery.id,
            DELIVERIES.write(delivery),
            "" if delivery.due_at is None else to_ms(delivery.due_at),
            to_ms(delivery.created_at),
            delivery.channel,
            life_seconds(DELIVERY_LIFE),
            to_ms(now - DELIVERY_LIFE),
        ]
    return flat


def life_seconds(span: timedelta) -> int:
    """A span as Redis' EXPIRE takes it."""
    return int(span.total_seconds())
