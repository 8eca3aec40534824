"""Redis streams as a target of webhook events, for tenants that cannot receive HTTP requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from core.errors import StoreUnavailable
from core.store import keys
from core.store.client import RedisClient
from core.webhooks.endpoint import RedisStream

EVENT_FIELD: Final = "event"
"""The only field of a stream's entries; its value is the CloudEvent as JSON."""


@dataclass(frozen=True, slots=True)
class EventStreamPolicy:
    """`max_entries` is the approximate length of a stream; older entries are trimmed."""

    max_entries: int = 10_000


class EventStreams:
    """The streams in the gateway's own Redis and in the servers that the operator configured."""

    def __init__(
        self, default: RedisClient, external: Mapping[str, RedisClient], policy: EventStreamPolicy
    ) -> None:
        """`external` are clients of other Redis servers, by the names that tenants use."""
        self._default = default
        self._external = external
        self._policy = policy

    async def append(self, tenant: str, stream: RedisStream, event: bytes) -> None:
        """Append an event. Raises `StoreUnavailable`, also for a sink no longer configured."""
        client = self._default if stream.sink is None else self._external.get(stream.sink)
        if client is None:
            raise StoreUnavailable("No such sink is configured.")
        key = keys.event_stream(tenant, stream.name)
        try:
            await client.execute(
                "XADD", key, "MAXLEN", "~", self._policy.max_entries, "*", EVENT_FIELD, event
            )
        except ResponseError as error:
            raise StoreUnavailable("The sink rejects the event.") from error
