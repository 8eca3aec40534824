"""How a new callback is written, for the scripts that write some: keys and arguments in order."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from core.changes import RETENTION
from core.clock import to_ms
from core.deliveries import Delivery
from core.store import keys
from core.store.connection import Argument
from core.store.records import DELIVERIES

DELIVERY_LIFE: Final = 2 * RETENTION
"""How long a callback is kept after its last attempt: longer than its job, whose end may be a day
after its first callback, and whose life every attempt lengthens."""


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
