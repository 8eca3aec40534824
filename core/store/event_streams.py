"""Redis streams as a target of webhook events, for tenants that cannot receive HTTP requests."""

from collections.abc import Mapping
from typing import Final

from core.errors import StoreRefused, StoreUnavailable
from core.store import keys
from core.store.client import RedisClient
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
        max_length: int = DEFAULT_MAX_LENGTH,
    ) -> None:
        """Write to `default`, or to one of `external` by the name that a tenant uses.

        Streams are trimmed to about `max_length` entries.
        """
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
