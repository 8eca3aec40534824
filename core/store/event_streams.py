"""Redis streams as a target of webhook events, for tenants that cannot receive HTTP requests."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from core.clock import Clock, to_ms
from core.errors import StoreRefused, StoreUnavailable
from core.retention import EVENT_STREAM_RETENTION
from core.store import keys
from core.store.client import RedisClient, ttl_seconds
from core.webhooks.endpoint import RedisStream

DEFAULT_MAX_LENGTH: Final = 10_000
EVENT_FIELD: Final = "event"
"""The only field of a stream's entries; its value is the CloudEvent as JSON."""


class EventStreams:
    """The streams in the gateway's own Redis and in the servers that the operator configured."""

    def __init__(
        self,
        default: RedisClient,
        external: Mapping[str, RedisClient],
        clock: Clock,
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> None:
        """Write to `default`, or to one of `external` by the name that a tenant uses.

        Streams are trimmed to about `max_length` entries, and to the retention by `clock`.
        """
        self._clock = clock
        self._default = default
        self._external = external
        self._max_length = max_length

    async def append(self, tenant: str, stream: RedisStream, event: bytes) -> None:
        """Append an event. Raises `StoreUnavailable`, also for a sink no longer configured."""
        client = self._default if stream.sink is None else self._external.get(stream.sink)
        if client is None:
            raise StoreUnavailable("No such sink is configured.")
        key = keys.event_stream(tenant, stream.name)
        try:
            await client.execute(
                "XADD", key, "MAXLEN", "~", self._max_length, "*", EVENT_FIELD, event
            )
        except StoreRefused as error:
            raise StoreUnavailable("The sink rejects the event.") from error
        await self._expire(client, key)

    async def _expire(self, client: RedisClient, key: str) -> None:
        """End old events, and a stream that gets no new ones: its tenant may be deleted.

        The event is stored by now. A failure must not have it sent again, and the next event
        repeats this; a sink's own access rules may forbid it.
        """
        oldest = to_ms(self._clock.now() - EVENT_STREAM_RETENTION)
        with suppress(StoreUnavailable):
            await asyncio.gather(
                client.execute("XTRIM", key, "MINID", "~", oldest),
                client.execute("EXPIRE", key, ttl_seconds(EVENT_STREAM_RETENTION)),
            )
